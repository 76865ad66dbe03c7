//! Look-ups, against folders made for the test.

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

fn prepared(line: &str, variables: &[(&str, &str)]) -> Result<Prepared, String> {
    let words = ["kiln", "build"].into_iter().chain(line.split_whitespace());
    let Ok(Cli { command: Command::Build(args), .. }) = Cli::try_parse_from(words) else {
        panic!("{line}");
    };
    prepare(&args, &args.outputs, &Environment::of(variables, false), &Fetched::default()).map_err(|e| {
        let report = e.report();
        let hint = report.hint.map(|h| format!(" ({h})")).unwrap_or_default();
        format!("{}{hint}", report.message)
    })
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> String {
        self.0.path().canonicalize().unwrap().display().to_string()
    }
}

#[test]
fn where_the_dockerfile_is() {
    let folder =
        Folder::with(&[("a/Dockerfile", "FROM x\n"), ("b/dockerfile", "FROM y\n"), ("c/Containerfile", "")]);
    let at = folder.path();
    let found =
        |line: String| prepared(&line, &[]).map(|p| (p.request.dockerfile, p.request.dockerfile_path));
    assert_eq!(found(format!("{at}/a")), Ok(("FROM x\n".into(), Some("Dockerfile".into()))));
    assert_eq!(found(format!("{at}/b")), Ok(("FROM y\n".into(), Some("dockerfile".into()))));
    let outside = format!("{at}/a/Dockerfile");
    assert_eq!(found(format!("-f {outside} {at}/b")), Ok(("FROM x\n".into(), Some(outside.clone().into()))));
    assert_eq!(found(format!("-f {outside} {at}")), Ok(("FROM x\n".into(), Some("a/Dockerfile".into()))));
    assert_eq!(
        found(format!("{at}/c")),
        Err(format!(
            "no Dockerfile at {at}/c/Dockerfile (there is {at}/c/Containerfile (-f {at}/c/Containerfile))"
        ))
    );
    assert!(found(format!("-f {at} {at}")).unwrap_err().contains("is a directory"));
    let missing = found(format!("{at}/d")).unwrap_err();
    assert!(missing.starts_with(&format!("build context {at}/d: ")), "{missing}");
}

#[test]
fn arguments_and_the_environment() {
    let folder = Folder::with(&[("Dockerfile", "FROM x\n")]);
    let line = format!("--build-arg A --build-arg B=2 --build-arg C {}", folder.path());
    let variables = [("A", ""), ("B", "no"), ("SOURCE_DATE_EPOCH", "12")];
    let request = prepared(&line, &variables).unwrap().request;
    let args: Vec<String> = request.build_args.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(args, ["A=", "B=2", "SOURCE_DATE_EPOCH=12"]);
    assert_eq!(request.source_date_epoch, Some(12));
    let line = format!("--build-arg SOURCE_DATE_EPOCH=7 {}", folder.path());
    assert_eq!(prepared(&line, &variables).unwrap().request.source_date_epoch, Some(7));
    let line = format!("--build-arg SOURCE_DATE_EPOCH=-7 {}", folder.path());
    assert!(prepared(&line, &[]).is_err());
    let line = format!("--build-arg SOURCE_DATE_EPOCH=context {}", folder.path());
    assert_eq!(prepared(&line, &[]).unwrap().request.source_date_epoch, None, "a matter of the engine");
}

#[test]
fn secrets_are_looked_up() {
    let folder = Folder::with(&[("Dockerfile", "FROM x\n"), ("key", "k")]);
    let at = folder.path();
    let get = |flag: &str, variables: &[(&str, &str)]| {
        prepared(&format!("--secret {flag} {at}"), variables).map(|p| format!("{:?}", p.request.secrets))
    };
    assert_eq!(get(&format!("id=a,src={at}/key"), &[]), Ok(format!(r#"{{"a": File("{at}/key")}}"#)));
    assert_eq!(get("id=a,env=B", &[("B", "x")]), Ok(r#"{"a": Bytes(..)}"#.to_owned()));
    assert_eq!(get("id=TOKEN", &[("TOKEN", "x")]), Ok(r#"{"TOKEN": Bytes(..)}"#.to_owned()));
    assert_eq!(get("id=a,env=B", &[]), Err("--secret: a: the environment has no variable B".to_owned()));
    assert!(get(&format!("id=a,src={at}/nokey"), &[]).unwrap_err().contains("nokey"));
    assert!(get(&format!("id=a,src={at}"), &[]).unwrap_err().contains("directory"));
}

#[test]
fn forms_of_layers() {
    let form = |spec: &str| match crate::args::output::parse(spec) {
        Ok(output) => layer_form(output.image().unwrap()),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(form("type=oci"), LayerForm::default());
    assert_eq!(form("type=oci,compression=zstd").compression, Compression::Zstd(3));
    assert_eq!(form("type=oci,compression-level=9").compression, Compression::Gzip(9));
    assert_eq!(form("type=oci,compression=uncompressed").compression, Compression::Uncompressed);
    assert!(form("type=oci,rewrite-timestamp=true").rewrite);
    assert!(form("type=oci,force-compression=true").force);
}

#[test]
fn named_contexts_that_are_none() {
    let folder = Folder::with(&[("Dockerfile", "FROM scratch\n")]);
    for (value, said) in [
        ("target:base", "another target of a bake file, and there is none (build that one first"),
        ("docker-imag://a/b", "nothing is known of docker-imag:// (did you mean docker-image://a/b?)"),
        ("gopher://a/b", "nothing is known of gopher:// (there is docker-image://, oci-layout://"),
        ("docker-image://A", "must be lower case"),
        ("/no/such", "/no/such: No such file"),
    ] {
        let error = prepared(&format!("--build-context x={value} {}", folder.path()), &[]).err().unwrap();
        assert!(error.contains(said), "{value}: {error}");
    }
}
