//! `beamrail init`: write a configuration.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use beamline::config::FILE_NAME;
use beamline::init::{Answers, from_incumbent, write};

use super::live::say;
use crate::exit::{Exit, Failure};
use crate::output;

/// Write a configuration, from a few answers or from the files of the flows that beamrail takes over
///
/// Asks on the terminal; an empty answer takes what is in brackets. Nothing secret is asked for or written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Convert this config.yml instead of asking
    #[arg(long, value_name = "CONFIG.yml")]
    from: Option<PathBuf>,

    /// With --from: the .env beside it, for the names of its variables [default: .env in the same folder, if there]
    #[arg(long, value_name = "FILE", requires = "from")]
    env: Option<PathBuf>,

    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = FILE_NAME)]
    output: PathBuf,

    /// Take every answer in brackets without asking
    #[arg(long, conflicts_with = "from")]
    defaults: bool,

    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

/// Asks or converts, and writes.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.output.exists() && !args.overwrite {
        return Err(Failure::new(Exit::BadInput, format!("{} is there already", args.output.display()))
            .hint("--overwrite, or --output FILE"));
    }
    let (toml, notes) = match &args.from {
        Some(yaml) => convert(yaml, args.env.as_deref())?,
        None => {
            let answers = if args.defaults { Answers::default() } else { ask()? };
            (write(&answers).map_err(|error| Failure::from_error(Exit::BadInput, &error))?, Vec::new())
        }
    };
    put(&args.output, &toml)?;
    for note in &notes {
        say(&format!("note: {note}"));
    }
    output::print(&format!("{} is written; next: beamrail check", args.output.display()))
}

fn convert(yaml: &Path, env: Option<&Path>) -> Result<(String, Vec<String>), Failure> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::new(Exit::BadInput, format!("cannot read {}: {error}", path.display())))
    };
    let beside = yaml.with_file_name(".env");
    let env = match env {
        Some(path) => Some(read(path)?),
        None if beside.is_file() => Some(read(&beside)?),
        None => None,
    };
    let converted = from_incumbent(&read(yaml)?, env.as_deref())
        .map_err(|error| Failure::new(Exit::BadInput, format!("{}: {error}", yaml.display())))?;
    Ok((converted.toml, converted.notes))
}

/// Writes the file whole.
fn put(path: &Path, toml: &str) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = std::fs::File::create(&part).map_err(fail)?;
    file.write_all(toml.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&part, path).map_err(fail)
}

/// Asks on stderr, reads from stdin. At its end the rest takes what is in brackets.
fn ask() -> Result<Answers, Failure> {
    let mut answers = Answers::default();
    let mut lines = std::io::stdin().lock().lines();
    let mut question = |text: &str, usual: &str| -> Result<String, Failure> {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{text} [{usual}]: ");
        let _ = stderr.flush();
        let line = match lines.next() {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                return Err(Failure::new(Exit::Failed, format!("cannot read the answer: {error}")));
            }
            None => String::new(),
        };
        let line = line.trim();
        Ok(if line.is_empty() { usual.to_owned() } else { line.to_owned() })
    };
    answers.id = question("Beamline", &answers.id)?;
    answers.time_zone = question("Time zone", &answers.time_zone)?;
    answers.site = question("Name of the host that scans arrive at", &answers.site)?;
    answers.root = question("Its data folder", &answers.root)?;
    answers.raw = question("Raw scans, in that folder", &answers.raw)?;
    answers.scratch = question("Results, in that folder", &answers.scratch)?;
    answers.retention = question("Results stay for (\"30 days\", \"never\" goes)", &answers.retention)?;
    let archive = question("A second folder that keeps copies (mounted archive), or none", "none")?;
    if archive != "none" {
        let name = question("Its name", "archive")?;
        answers.archive = Some((name, archive));
    }
    let memory = question("Memory for a reconstruction (\"8 GiB\"), or auto", "auto")?;
    answers.memory = (memory != "auto").then_some(memory);
    let controlled = question("Export-controlled experiment folders (\"EC-*, X-*\"), or none", "none")?;
    if controlled != "none" {
        answers.controlled = controlled
            .split(',')
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect();
    }
    Ok(answers)
}
