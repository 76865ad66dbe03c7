//! `kiln shell`: into the files of a step of the last build.

mod terminal;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kiln_build::enter::{Entered, Moment, Visit, failed_step};
use kiln_build::record::PlanRecord;
use kiln_sandbox::{
    Exit, Rung, Running, StopSignal, install_signal_flag, spawn_interactive, termination_requested,
};

use crate::agents::Agents;
use crate::args::shell::{ShellArgs, StepName};
use crate::commands::{Failed, Setting};
use crate::errors::CliError;
use crate::render::write_stderr;
use crate::{request, rootless};

/// How often it is looked whether somebody wants to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the shell or the command; its exit status becomes ours.
pub(super) fn run(args: &ShellArgs, setting: &Setting<'_>) -> Result<(), Failed> {
    let footing = rootless::climb(&setting.store)?;
    if footing.rung == Rung::None {
        let kind = footing.obstacles();
        return Err(CliError::from(kiln_build::error::BuildError::new(None, kind)).into());
    }
    let engine = setting.engine(setting.client(&[]), footing.rung)?;
    let last = engine.history().last().map_err(CliError::from)?;
    let (moment, name) = args.place();
    let (plan, stage, position) = find(&last.record.plans, name)?;
    let agents = Agents::of(&args.ssh, setting.environment)?;
    let entered = engine
        .enter(&Visit {
            asked: &last.record.asked,
            plan,
            stage,
            position,
            moment,
            command: args.command.clone(),
            env: terminal_variables(setting),
            secrets: request::secrets(&args.secrets, setting.environment)?,
            ssh: agents.sockets.clone(),
            resolv_conf: fs_err::read("/etc/resolv.conf").unwrap_or_default(),
        })
        .map_err(CliError::from)?;
    for missing in &entered.missing {
        write_stderr(&format!("not there: {missing}\n"));
    }
    debug_assert!(moment != Moment::Failed || args.failed);
    match converse(&entered)? {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(Failed::Told(u8::try_from(code & 0xff).unwrap_or(1))),
        // As shells have it.
        Exit::Signal(signal) => Err(Failed::Told(u8::try_from(128 + signal).unwrap_or(1))),
    }
}

/// The plan, stage and position that are meant.
fn find<'a>(
    plans: &'a [PlanRecord],
    name: Option<&StepName>,
) -> Result<(&'a PlanRecord, usize, usize), CliError> {
    let Some(name) = name else {
        let failed = plans.iter().find_map(|plan| failed_step(plan).map(|(s, p)| (plan, s, p)));
        return failed.ok_or_else(|| CliError::usage("--failed", "no step of the last build has failed"));
    };
    let plan = plans
        .first()
        .ok_or_else(|| CliError::usage("--before", "the last build did not get to its steps"))?;
    let stage = match &name.stage {
        None => plan.target,
        Some(wanted) => {
            let is_it = |name: &str| name.eq_ignore_ascii_case(wanted) || name == format!("stage-{wanted}");
            plan.stages.iter().position(|stage| is_it(&stage.name)).ok_or_else(|| {
                let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
                let problem = format!("the last build has no stage {wanted:?}; it has {}", names.join(", "));
                CliError::usage("--before", problem)
            })?
        }
    };
    Ok((plan, stage, name.position))
}

/// What programs ask a terminal's kind by; nothing else of our environment is the step's business.
fn terminal_variables(setting: &Setting<'_>) -> Vec<(String, String)> {
    let names = if std::io::stdin().is_terminal() { ["TERM", "COLORTERM"].as_slice() } else { &[] };
    names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), setting.environment.get(name)?.to_owned())))
        .collect()
}

/// Runs it: with a terminal of its own if we have one, else on our own input and output.
fn converse(entered: &Entered) -> Result<Exit, CliError> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    if input.is_terminal() && output.is_terminal() {
        return terminal::converse(&entered.spec);
    }
    install_signal_flag(&StopSignal::ALL)?;
    let running = if input.is_terminal() {
        // The sandbox has left our session, and may not read from its terminal.
        let nothing = fs_err::File::open("/dev/null")?;
        spawn_interactive(&entered.spec, nothing.as_fd(), None)?
    } else {
        spawn_interactive(&entered.spec, input.as_fd(), None)?
    };
    until_over(&running)
}

/// Waits for the end; who asks us to stop ends it.
fn until_over(running: &Running) -> Result<Exit, CliError> {
    let killer = running.killer();
    let (over, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                if termination_requested().load(Ordering::Relaxed) {
                    killer.kill();
                    return;
                }
            }
        });
        let exit = running.wait();
        drop(over);
        Ok(exit?)
    })
}
