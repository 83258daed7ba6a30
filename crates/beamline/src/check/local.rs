//! What is on this machine: the state folder, local sites and facilities.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access, statvfs};

use super::{Looks, Verdict, own_version};
use crate::config::{Config, Facility, FacilityKind, Site, SiteKind, expand};

/// Less free space than this is told: one production scan with its results.
const LITTLE: u64 = 70_000_000_000;

/// Bytes in decimal gigabytes, as scans are counted.
fn bytes(count: u64) -> String {
    format!("{:.1} GB", count as f64 / 1e9)
}

/// The user that this process is, for "who must do what".
fn me() -> String {
    let name = |key: &str| std::env::var(key).ok().filter(|name| !name.trim().is_empty());
    let user = name("SUDO_USER").or_else(|| name("USER")).or_else(|| name("LOGNAME"));
    user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// The state folder: on a disk of this host, writable, with space.
pub(super) fn state(config: &Config, looks: &mut Looks<'_>) {
    let folder = nearest(&config.state);
    match access(&folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => looks.ok("state folder", format!("{} can be written", config.state.display())),
        Err(error) => looks.bad(
            "state folder",
            Verdict::Fault,
            format!("{}: {error}", folder.display()),
            format!("its owner: give {} write permission, or name another in [state] folder", me()),
        ),
    }
    if let Some(kind) = network_fs(&folder) {
        looks.bad(
            "state disk",
            Verdict::Warning,
            format!("{} is on {kind}", folder.display()),
            "operator: put [state] folder on a disk of this host; SQLite's locks are not safe over networks",
        );
    }
}

pub(super) fn site(site: &Site, looks: &mut Looks<'_>) {
    let root = &site.root;
    match std::fs::metadata(root) {
        Ok(meta) if meta.is_dir() => looks.ok("root", root.display().to_string()),
        Ok(_) => {
            looks.bad(
                "root",
                Verdict::Fault,
                format!("{} is no folder", root.display()),
                "operator: correct root",
            );
            return;
        }
        Err(error) => {
            let action =
                format!("operator: mount it or make it (mkdir -m 2775 {}), or correct root", root.display());
            looks.bad("root", Verdict::Fault, format!("{}: {error}", root.display()), action);
            return;
        }
    }
    if let Some(marker) = &site.marker {
        match root.join(marker).is_file() {
            true => looks.ok("marker", marker.clone()),
            false => looks.bad(
                "marker",
                Verdict::Fault,
                format!("{} is not there, so the site counts as not mounted", root.join(marker).display()),
                format!("operator: once the right disk is mounted, touch {}", root.join(marker).display()),
            ),
        }
    }
    let mut devices = Vec::new();
    for (name, area) in &site.areas {
        let path = root.join(area.path.as_str());
        let what = format!("{name} folder");
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_symlink()) {
            looks.bad(
                &what,
                Verdict::Fault,
                format!("{} is a link, and links are not followed", path.display()),
                format!("operator: write the folder that it leads to as {name}, below the root"),
            );
            continue;
        }
        let there = nearest(&path);
        match access(&there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) if there == path => looks.ok(&what, format!("{} can be read and written", path.display())),
            Ok(()) => looks.ok(&what, format!("{} will be made", path.display())),
            Err(error) => looks.bad(
                &what,
                Verdict::Fault,
                format!("{}: {error}", there.display()),
                format!("owner of {}: chgrp and chmod 2775, so that {} may write", there.display(), me()),
            ),
        }
        if let Ok(stat) = statvfs(&there) {
            enough(&format!("{name} space"), stat.f_bavail.saturating_mul(stat.f_frsize), looks);
            devices.push((name, stat.f_fsid));
        }
    }
    if let [(one, first), (other, second)] = devices.as_slice() {
        match first == second {
            true => looks.ok("file systems", format!("{one} and {other} are on the same")),
            false => looks.ok("file systems", format!("{one} and {other} are on different ones")),
        }
    }
}

/// Whether so many free bytes are enough.
pub(super) fn enough(what: &str, free: u64, looks: &mut Looks<'_>) {
    let found = format!("{} free", bytes(free));
    match free >= LITTLE {
        true => looks.ok(what, found),
        false => looks.bad(
            what,
            Verdict::Warning,
            format!("{found}; one scan with its results takes about {}", bytes(LITTLE)),
            "operator: make room, or shorten the retention; beamrail prune plan",
        ),
    }
}

/// The free space of a folder that this host sees.
pub(super) fn space(folder: &Path, looks: &mut Looks<'_>) {
    if let Ok(stat) = statvfs(folder) {
        enough("space", stat.f_bavail.saturating_mul(stat.f_frsize), looks);
    }
}

/// Something of a kind that this version cannot use: at least its variables can be looked at.
fn absent<'v>(kind: &str, values: impl Iterator<Item = &'v String>, looks: &mut Looks<'_>) {
    for value in values {
        if let Err(variable) = expand(value, |name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        {
            looks.bad(
                "environment",
                Verdict::Warning,
                format!("{variable} is not set"),
                format!("operator: set {variable} in the environment of beamrail"),
            );
        }
    }
    looks.bad(
        "kind",
        Verdict::Warning,
        format!("kind {kind:?} is not in this version"),
        "nobody: flows that use it fail and say so",
    );
}

pub(super) fn facility(config: &Config, one: &Facility, looks: &mut Looks<'_>) {
    if one.kind != FacilityKind::Local {
        return absent(one.kind.name(), one.more.values(), looks);
    }
    let own = std::env::current_exe().ok().filter(|_| one.command == "beamrail");
    let command = own.unwrap_or_else(|| PathBuf::from(&one.command));
    match version(&command) {
        Ok(version) if version == own_version() => {
            looks.ok("command", format!("{}: {version}", command.display()))
        }
        Ok(version) => looks.bad(
            "command",
            Verdict::Warning,
            format!("{}: {version}, and this is {}", command.display(), own_version()),
            "operator: install the same version at both places",
        ),
        Err(reason) => looks.bad(
            "command",
            Verdict::Fault,
            format!("{}: {reason}", command.display()),
            "operator: install beamrail there, or correct command",
        ),
    }
    let Some(site) = config.sites.get(&one.site).filter(|site| site.kind == SiteKind::Local) else { return };
    let root = one.site_root.as_ref().unwrap_or(&site.root);
    let same = match (std::fs::metadata(root), std::fs::metadata(&site.root)) {
        (Ok(seen), Ok(there)) => {
            use std::os::unix::fs::MetadataExt;
            (seen.dev(), seen.ino()) == (there.dev(), there.ino())
        }
        _ => false,
    };
    match same {
        true => looks.ok("site's root", format!("{} is {}", root.display(), one.site)),
        false => looks.bad(
            "site's root",
            Verdict::Fault,
            format!("{} is not the root of site {} ({})", root.display(), one.site, site.root.display()),
            "operator: correct site_root, so that jobs see what was transferred",
        ),
    }
    let Some(scratch) = site.areas.get("scratch") else {
        looks.bad(
            "scratch",
            Verdict::Fault,
            format!("site {} has no scratch", one.site),
            format!("operator: add scratch = \"FOLDER\" to [sites.{}], for the results", one.site),
        );
        return;
    };
    // A job's folder and results are written, then renamed: on two file systems a rename is a copy.
    let (jobs, scratch) =
        (nearest(&root.join(one.jobs.as_str())), nearest(&root.join(scratch.path.as_str())));
    if let (Ok(jobs_on), Ok(scratch_on)) = (statvfs(&jobs), statvfs(&scratch)) {
        match jobs_on.f_fsid == scratch_on.f_fsid {
            true => looks.ok("job folders", "on the same file system as scratch"),
            false => looks.bad(
                "job folders",
                Verdict::Warning,
                format!("{} and {} are on two file systems", jobs.display(), scratch.display()),
                "operator: move jobs to the file system of scratch",
            ),
        }
    }
}

/// What a command says that it is.
fn version(command: &Path) -> Result<String, String> {
    let output =
        Command::new(command).arg("--version").stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("--version ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The path, or the nearest folder above it that is there.
fn nearest(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|one| one.exists());
    there.map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

/// The network file system that a path is on, by the mount table.
fn network_fs(path: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let real = path.canonicalize().ok()?;
    let mounts = table.lines().filter_map(|line| {
        let mut parts = line.split(' ').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let (_, kind) = mounts
        .filter(|(point, _)| real.starts_with(point))
        .max_by_key(|(point, _)| Path::new(point).components().count())?;
    let network = ["nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs", "9p"];
    network.iter().any(|name| kind.starts_with(name)).then(|| kind.to_owned())
}
