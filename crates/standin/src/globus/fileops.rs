//! Transfer's synchronous calls on a collection: ls, stat, mkdir, rename.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use super::Collection;
use super::auth::{self, Token};
use super::faults::{Kind, Victim, glob};
use super::folder::{Trouble, normal};
use super::http::{Answer, Reply, Request, request_id};
use super::state::{World, text};

pub fn route(
    world: &World,
    request: &Request,
    token: &Token,
    method: &str,
    id: &str,
    operation: &str,
) -> Reply {
    let collection = world.endpoint_of(request, id)?;
    auth::consent(request, token, collection)?;
    let names = world.names(id);
    let victim = Victim { request: Some(request), collections: &names, ..Victim::default() };
    if world.read(|state| state.under(&victim, &Kind::CollectionOffline)) {
        let code = match operation {
            "mkdir" => "ExternalError.MkdirFailed.ConnectFailed",
            "rename" => "ExternalError.RenameFailed.ConnectFailed",
            _ => "ExternalError.DirListingFailed.ConnectFailed",
        };
        return Err(request.refuse(
            502,
            code,
            &format!("The endpoint '{}' cannot be reached", collection.name),
        ));
    }
    match (method, operation) {
        ("GET", "ls") => ls(request, collection),
        ("GET", "stat") => stat(request, collection),
        ("POST", "mkdir") => mkdir(request, collection),
        ("POST", "rename") => rename(request, collection),
        _ => Err(request.not_found()),
    }
}

/// What a path that cannot be used gets: refused is told from absent.
fn refuse(request: &Request, collection: &Collection, trouble: &Trouble) -> Answer {
    let at = format!("Endpoint: {} ({})", collection.name, collection.id);
    match trouble {
        Trouble::Denied(path) => {
            let message =
                format!("Denied by endpoint, Error (list)\n{at}\nMessage: Path not allowed: {path}");
            request.refuse(403, "EndpointPermissionDenied", &message)
        }
        Trouble::Absent(path) => {
            // stat has its own code; the fixtures of the official SDK show it.
            let code = if request.path.ends_with("/stat") { "NotFound" } else { "ClientError.NotFound" };
            request.refuse(
                404,
                code,
                &format!("Path not found, Error (list)\n{at}\nMessage: No such file: {path}"),
            )
        }
        Trouble::Other(text) => request.refuse(502, "ExternalError.EndpointError", text),
    }
}

fn ls(request: &Request, collection: &Collection) -> Reply {
    let trouble = |trouble: &Trouble| refuse(request, collection, trouble);
    let path = request.q("path").unwrap_or("/");
    let (place, metadata) = collection.look_no_link(path).map_err(|error| trouble(&error))?;
    if !metadata.is_dir() {
        let message = format!("'{path}' is not a directory");
        return Err(request.refuse(502, "ExternalError.DirListingFailed.NotDirectory", &message));
    }
    let hidden = request.q("show_hidden").is_none_or(|value| value != "0" && value != "false");
    let entries = std::fs::read_dir(&place).map_err(|error| trouble(&Trouble::of(path, &error)))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| trouble(&Trouble::of(path, &error)))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Gone since it was listed: not there.
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        if hidden || !name.starts_with('.') {
            found.push(document(&name, &entry.path(), &metadata));
        }
    }
    let filter = request.q("filter").unwrap_or("");
    found.retain(|entry| filter.split('/').all(|part| passes(entry, part)));
    order(&mut found, request.q("orderby").unwrap_or("name"));
    let (offset, limit) = (request.number("offset", 0), request.number("limit", 100_000));
    let total = found.len();
    let page: Vec<Value> = found.into_iter().skip(offset).take(limit).collect();
    let shown = normal(path, true);
    Ok(Answer::ok(json!({
        "DATA_TYPE": "file_list", "endpoint": collection.id, "path": shown, "absolute_path": shown,
        "rename_supported": true, "symlink_supported": false, "offset": offset, "limit": limit,
        "length": page.len(), "total": total, "DATA": page,
    })))
}

/// One condition of a filter: `type:file,dir`, `name:~*.h5`, `name:!a`, `name:=a`, `size:>10`.
fn passes(entry: &Value, condition: &str) -> bool {
    let Some((field, wanted)) = condition.split_once(':') else { return true };
    match field {
        "type" => wanted.split(',').any(|wanted| text(entry, "type") == Some(wanted)),
        "name" => {
            let name = text(entry, "name").unwrap_or("");
            wanted.split(',').any(|wanted| {
                let (not, wanted) = wanted.strip_prefix('!').map_or((false, wanted), |rest| (true, rest));
                let fits = match (wanted.strip_prefix('~'), wanted.strip_prefix('=')) {
                    (Some(pattern), _) => glob(pattern, name),
                    (_, Some(exact)) => exact == name,
                    _ => wanted == name,
                };
                fits != not
            })
        }
        "size" => {
            let size = entry["size"].as_u64().unwrap_or(0);
            let number = |text: &str| text.trim_start_matches(['=', '>', '<']).parse().unwrap_or(0);
            match wanted {
                _ if wanted.starts_with(">=") => size >= number(wanted),
                _ if wanted.starts_with("<=") => size <= number(wanted),
                _ if wanted.starts_with('>') => size > number(wanted),
                _ if wanted.starts_with('<') => size < number(wanted),
                _ => size == number(wanted),
            }
        }
        _ => true,
    }
}

/// `name ASC,size DESC` and the like.
fn order(found: &mut [Value], by: &str) {
    found.sort_by(|a, b| {
        by.split(',')
            .map(|key| {
                let mut words = key.split_whitespace();
                let field = words.next().unwrap_or("name");
                let order = match field {
                    "size" => a[field].as_u64().cmp(&b[field].as_u64()),
                    _ => a[field].as_str().cmp(&b[field].as_str()),
                };
                if words.next().is_some_and(|word| word.eq_ignore_ascii_case("desc")) {
                    order.reverse()
                } else {
                    order
                }
            })
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
}

fn stat(request: &Request, collection: &Collection) -> Reply {
    let path = request.q("path").unwrap_or("/");
    let (place, metadata) = collection.look(path).map_err(|error| refuse(request, collection, &error))?;
    let shown = normal(path, false);
    Ok(Answer::ok(document(shown.rsplit('/').next().unwrap_or(""), &place, &metadata)))
}

/// A file as Transfer describes it. Links are told, never followed.
fn document(name: &str, place: &Path, metadata: &Metadata) -> Value {
    let link = metadata.is_symlink().then(|| std::fs::read_link(place).ok()).flatten();
    let kind = match () {
        () if metadata.is_symlink() => "invalid_symlink",
        () if metadata.is_dir() => "dir",
        () if metadata.is_file() => "file",
        () => "other",
    };
    let modified = jiff::Timestamp::from_second(metadata.mtime()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    json!({
        "DATA_TYPE": "file", "name": name, "type": kind, "size": metadata.len(),
        "permissions": format!("{:04o}", metadata.permissions().mode() & 0o7777),
        "user": metadata.uid().to_string(), "group": metadata.gid().to_string(),
        "last_modified": modified.strftime("%Y-%m-%d %H:%M:%S+00:00").to_string(),
        "link_target": link.map(|target| target.to_string_lossy().into_owned()),
        "link_group": null, "link_last_modified": null, "link_size": null, "link_user": null,
    })
}

/// A path in the body, on a collection that may be written.
fn writable(request: &Request, collection: &Collection, body: &Value, field: &str) -> Result<String, Answer> {
    let path = text(body, field)
        .ok_or_else(|| request.refuse(400, "ClientError.BadRequest", &format!("'{field}' is required")))?;
    if collection.read_only {
        return Err(refuse(request, collection, &Trouble::Denied(path.to_owned())));
    }
    Ok(path.to_owned())
}

fn done(request: &Request, kind: &str, code: &str, message: &str) -> Reply {
    Ok(Answer::ok(json!({
        "DATA_TYPE": kind, "code": code, "message": message, "request_id": request_id(), "resource": request.path,
    })))
}

fn mkdir(request: &Request, collection: &Collection) -> Reply {
    let path = writable(request, collection, &request.json()?, "path")?;
    let place = collection.place(&path).map_err(|error| refuse(request, collection, &error))?;
    match std::fs::create_dir(&place) {
        Ok(()) => done(request, "mkdir_result", "DirectoryCreated", "The directory was created successfully"),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(request.refuse(
            502,
            "ExternalError.MkdirFailed.Exists",
            &format!("Path already exists: {path}"),
        )),
        Err(error) => Err(refuse(request, collection, &Trouble::of(&path, &error))),
    }
}

fn rename(request: &Request, collection: &Collection) -> Reply {
    let body = request.json()?;
    let (old, new) = (
        writable(request, collection, &body, "old_path")?,
        writable(request, collection, &body, "new_path")?,
    );
    let (from, _) = collection.look(&old).map_err(|error| refuse(request, collection, &error))?;
    let to = collection.place(&new).map_err(|error| refuse(request, collection, &error))?;
    if std::fs::symlink_metadata(&to).is_ok() {
        return Err(request.refuse(
            502,
            "ExternalError.RenameFailed.Exists",
            &format!("Path already exists: {new}"),
        ));
    }
    std::fs::rename(from, to).map_err(|error| refuse(request, collection, &Trouble::of(&new, &error)))?;
    done(request, "result", "FileRenamed", "File or directory renamed successfully")
}
