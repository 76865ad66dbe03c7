//! The binary `kiln`: arguments, wiring, screens, error texts, exit statuses. What another program could want is in the libraries
//! below; nothing of it is here.
//!
//! The way of a command: `args` says what was typed, `environment` what the process was given, `request` what both mean;
//! `commands` has a file for each verb; a build's events go to `render`, its result to `output`; whatever fails becomes a
//! [`errors::CliError`], and `errors` alone decides how it is told and with which status the process ends.

use std::process::ExitCode;

use clap::Parser;

mod agents;
mod answers;
mod args;
mod carry;
mod commands;
mod environment;
mod errors;
mod excerpt;
mod fetch;
mod interrupt;
mod output;
mod remote;
mod render;
mod repositories;
mod request;
mod rootless;
mod stdin;
mod trace;

fn main() -> ExitCode {
    // Nothing may come before: in a helper process this call does not return.
    kiln_sandbox::run_helper_if_asked();
    std::panic::set_hook(Box::new(confess));
    let environment = environment::Environment::of_process();
    #[cfg(feature = "crash-points")]
    kiln_oci::crash::arm(environment.get("KILN_CRASH_AT").and_then(|n| n.parse().ok()).unwrap_or(0));
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with status 0; a reader that went away is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { errors::status::USAGE } else { 0 });
        }
    };
    let status = std::panic::catch_unwind(|| match commands::run(&cli, &environment) {
        Ok(()) => 0,
        Err(commands::Failed::Told(status)) => status,
        Err(commands::Failed::Error(error)) => excerpt::tell(&error, environment.look(), true),
    });
    ExitCode::from(status.unwrap_or(errors::status::BUG))
}

/// What a panic says: it is ours to mend, and this is what we need to do so.
fn confess(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    render::write_stderr(&format!(
        "error: kiln {} has a bug{place}: {message}\n  = help: please report this line with the Dockerfile and the command\n",
        env!("CARGO_PKG_VERSION")
    ));
}
