//! What a run shows here, as Prefect shows it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Artifact, ArtifactKind, Run, Step};
use prefect::Content;
use serde_json::{Value, json};

use crate::orders::ORDERS;

/// Pictures up to this size go into the artifact itself: the interface reads no files of ours.
const PICTURE: u64 = 1 << 20;

/// A step as its task is called. An order for the outbox has the topic's name in the journal; people see what it is for.
pub(crate) fn name(key: &str) -> String {
    match key.strip_suffix(&format!("send {ORDERS}")) {
        Some(scope) => format!("{scope}order a run for later"),
        None => key.to_owned(),
    }
}

/// An artifact of the journal.
pub(crate) fn content(artifact: &Artifact) -> Content {
    let text = || artifact.data.as_str().map_or_else(|| artifact.data.to_string(), str::to_owned);
    match artifact.kind {
        ArtifactKind::Markdown => Content::Markdown(text()),
        ArtifactKind::Table => Content::Table(artifact.data.clone()),
        ArtifactKind::Progress => Content::Progress(artifact.data.as_f64().unwrap_or(0.0) * 100.0),
        ArtifactKind::Link => {
            let url = text();
            Content::Link { text: artifact.description.clone().unwrap_or_else(|| url.clone()), url }
        }
        ArtifactKind::Image => picture(&text()),
    }
}

fn picture(place: &str) -> Content {
    if ["http://", "https://", "data:"].iter().any(|scheme| place.starts_with(scheme)) {
        return Content::Image(place.to_owned());
    }
    let kind = if place.ends_with(".png") { "image/png" } else { "image/jpeg" };
    let small = std::fs::metadata(place).is_ok_and(|meta| meta.is_file() && meta.len() <= PICTURE);
    match small.then(|| std::fs::read(place)) {
        Some(Ok(bytes)) => Content::Image(format!("data:{kind};base64,{}", STANDARD.encode(bytes))),
        _ => Content::Markdown(format!("`{place}`")),
    }
}

/// What became of each step: the table that every run ends with.
pub(crate) fn report(run: &Run, steps: &[Step]) -> Content {
    let seconds = |step: &Step| {
        let (from, to) = (step.started?, step.ended?);
        Some((to.duration_since(from).as_secs_f64() * 10.0).round() / 10.0)
    };
    let rows: Vec<Value> = steps
        .iter()
        .filter(|step| step.generation == run.generation)
        .map(|step| {
            json!({
                "step": step.key,
                "state": step.state.name,
                "seconds": seconds(step),
                "attempts": step.attempt,
                "note": step.error.as_ref().map(|error| error.message.as_str()),
            })
        })
        .collect();
    Content::Table(Value::Array(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_called_what_they_are() {
        assert_eq!(name("copy 3/send prefect-run"), "copy 3/order a run for later");
        assert_eq!(name("zarr to als"), "zarr to als");
    }

    #[test]
    fn a_picture_is_shown_where_the_interface_can_see_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slice.png");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        assert_eq!(picture(path.to_str().unwrap()), Content::Image("data:image/png;base64,AQID".into()));
        assert_eq!(picture("https://h/x.png"), Content::Image("https://h/x.png".into()));
        assert_eq!(picture("/no/such.png"), Content::Markdown("`/no/such.png`".into()));
    }
}
