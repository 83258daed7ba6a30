//! The program at the facility: brought by Transfer, believed by its digest, and asked there what it is.

use std::path::Path;
use std::time::Duration;

use beamline::config::Config;
use custody::RelPath;
use sha2::{Digest, Sha256};
use sites::{GlobusCompute, Storage};

use super::setup::write_key;
use crate::exit::{Exit, Failure};

/// Run at the facility: the file that arrived, its place, its digest. Transfer keeps no modes, so it is made
/// executable here; only what has the digest and runs gets to its place, where jobs may be using the one before.
const SCRIPT: &str = "found=$(sha256sum < \"$0\" | cut -d ' ' -f 1)
if [ \"$found\" != \"$2\" ]; then echo \"its digest is $found\" >&2; exit 9; fi
chmod 755 \"$0\" && \"$0\" --version && mv -f \"$0\" \"$1\"
";

/// Where a program is brought.
pub(super) struct Brought<'a> {
    pub storage: &'a dyn Storage,
    pub compute: &'a GlobusCompute,
    pub config: &'a Config,
    pub facility: &'a str,
}

impl Brought<'_> {
    /// Brings `binary` to `to` below the site's root; tells what it is there. If it is this version, the
    /// configuration's command becomes it.
    pub fn bring(
        &self,
        runtime: &tokio::runtime::Runtime,
        binary: &Path,
        to: &str,
        patience: u64,
    ) -> Result<String, Failure> {
        let bytes = std::fs::read(binary)
            .map_err(|error| Failure::new(Exit::BadInput, format!("{}: {error}", binary.display())))?;
        let digest = sha256(&bytes);
        as_promised(binary, &digest)?;
        let (path, new) = (RelPath::new(to)?, RelPath::new(format!("{to}.new"))?);
        if let Some((folder, _)) = path.split() {
            runtime.block_on(self.storage.make_folder(&folder))?;
        }
        runtime.block_on(self.storage.write_small(&new, &bytes))?;
        let one = self.config.facilities.get(self.facility);
        let root = one.and_then(|one| one.site_root.clone());
        let root = root.or_else(|| self.config.sites.get(&one?.site).map(|site| site.root.clone()));
        let root = root.unwrap_or_default();
        let (new, there) = (root.join(new.as_str()), root.join(path.as_str()));
        let number = digest.get(..12).unwrap_or_default();
        let ran = runtime.block_on(self.compute.ask(
            &["-c", SCRIPT, &new.to_string_lossy(), &there.to_string_lossy(), &digest],
            Path::new("/bin/sh"),
            &format!(".beamrail/jobs/setup-{number}-{}", jiff::Timestamp::now().as_millisecond()),
            Duration::from_secs(patience),
        ))?;
        let version = ran.stdout.lines().next().unwrap_or_default().trim().to_owned();
        if ran.rc != Some(0) {
            let what = match ran.rc {
                Some(9) => "did not arrive as it was sent",
                _ => "does not run",
            };
            let text = format!(
                "{} {what} at {}: exit code {:?}, {}",
                new.display(),
                self.facility,
                ran.rc,
                ran.tail()
            );
            return Err(Failure::new(Exit::Service, text).hint("a binary for its system: make dist"));
        }
        let told = format!("{}: {version}, {} bytes, SHA-256 {digest}", there.display(), bytes.len());
        let own = format!("beamrail {}", env!("CARGO_PKG_VERSION"));
        let command = there.to_string_lossy();
        let configured = one.map(|one| one.command.as_str()).unwrap_or_default();
        if version != own {
            return Ok(format!(
                "{told}; this is {own}: bring the same version, or jobs may not be understood"
            ));
        }
        if configured == command {
            return Ok(format!("{told}; the command is it"));
        }
        write_key(&self.config.path, self.facility, "command", &command)?;
        Ok(format!("{told}; written to {} as command", self.config.path.display()))
    }
}

/// `make dist` leaves the checksum beside the binary: one that was cut short on its way here goes nowhere.
fn as_promised(binary: &Path, digest: &str) -> Result<(), Failure> {
    let mut name = binary.as_os_str().to_owned();
    name.push(".sha256");
    let Ok(text) = std::fs::read_to_string(&name) else { return Ok(()) };
    match text.split_whitespace().next() {
        Some(promised) if promised.eq_ignore_ascii_case(digest) => Ok(()),
        _ => {
            let text = format!(
                "{} has the digest {digest}, and {} says another",
                binary.display(),
                Path::new(&name).display()
            );
            Err(Failure::new(Exit::BadInput, text).hint("copy it again, or build it again: make dist"))
        }
    }
}

/// As sha256sum(1) writes it.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_beside_it_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("beamrail");
        // sha256sum(1) of the text.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(as_promised(&binary, digest).is_ok(), "there need not be one");
        std::fs::write(folder.path().join("beamrail.sha256"), format!("{digest}  beamrail\n")).unwrap();
        assert!(as_promised(&binary, digest).is_ok());
        let other = sha256(b"other");
        assert!(as_promised(&binary, &other).is_err());
        assert_eq!(sha256(b"abc"), digest);
    }
}
