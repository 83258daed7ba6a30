//! The harness tries a flow with every kind of step under every fault, and finds a flow that is wrong.

use std::io::Write;
use std::path::{Path, PathBuf};

use engine::harness::Harness;
use engine::{
    Context, External, Failure, Flow, Identity, NewRun, Registry, ResultExt, Retry, StepContext, StepOptions,
};
use serde_json::{Value, json};

/// A service outside that keeps its jobs in files: one line for each start.
struct Files(PathBuf);

impl External for Files {
    type Handle = String;
    type Output = u64;

    async fn prepare(&self, identity: &Identity) -> Result<String, Failure> {
        Ok(identity.key.replace('/', "-"))
    }

    async fn start(&self, name: &String, _: &StepContext) -> Result<String, Failure> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join(name));
        writeln!(file.fatal("opening")?, "started").fatal("writing")?;
        Ok(name.clone())
    }

    async fn find(&self, name: &String) -> Result<Option<String>, Failure> {
        Ok(self.0.join(name).exists().then(|| name.clone()))
    }

    async fn wait(&self, name: &String, step: &StepContext) -> Result<u64, Failure> {
        step.running().await?;
        std::fs::metadata(self.0.join(name)).map(|data| data.len()).fatal("looking")
    }

    async fn cancel(&self, _: &String) -> Result<(), Failure> {
        Ok(())
    }
}

pub(crate) fn flows(world: &Path) -> Registry {
    let folder = world.to_path_buf();
    let all = Flow::new("all", move |context: Context, _: Value| {
        let folder = folder.clone();
        async move {
            let retry = || StepOptions::new().retry(Retry::attempts(3));
            let copy = |name: &'static str| {
                let target = folder.join(name);
                context.step("copy", retry().key(name), move |_| {
                    let target = target.clone();
                    async move { std::fs::write(&target, name).fatal("writing").map(|()| name.len()) }
                })
            };
            let first = copy("raw").await?;
            let (tiff, zarr) = (context.scope("tiff"), context.scope("zarr"));
            let (tiff, zarr) = tokio::join!(
                tiff.external("transfer", retry(), Files(folder.clone())),
                zarr.external("transfer", retry(), Files(folder.clone())),
            );
            let child: u64 = context.sub_run("recon", NewRun::of("child", json!({}))).await?;
            context.sleep("settle", std::time::Duration::from_secs(20)).await?;
            context.send("catalogue", "scan", json!({})).await?;
            Ok::<_, Failure>(json!([first, tiff?, zarr?, child, copy("done").await?]))
        }
    });
    let folder = world.to_path_buf();
    let child = Flow::new("child", move |context: Context, _: Value| {
        let job = Files(folder.clone());
        async move { context.external("reconstruct", StepOptions::new(), job).await }
    });
    Registry::new().with(all).with(child)
}

/// Names and contents.
pub(crate) fn files(world: &Path) -> Value {
    let mut files: Vec<_> = std::fs::read_dir(world)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with("runs.db"))
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    json!(files)
}

#[tokio::test]
async fn every_kind_of_step_under_every_fault() {
    let stride = if std::env::var_os("BEAMRAIL_LONG").is_some() { 1 } else { 5 };
    let report = Harness::new(NewRun::of("all", json!({})), flows, files).stride(stride).try_all().await;
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.points >= 60 && report.steps >= 8, "{report}");
}

/// A flow that appends instead of writing, outside `External`: the harness must see it.
#[tokio::test]
async fn a_step_that_is_not_idempotent_is_found() {
    let wrong = |world: &Path| {
        let file = world.join("log");
        Registry::new().with(Flow::new("wrong", move |context: Context, _: Value| {
            let file = file.clone();
            async move {
                let step = context.step("append", StepOptions::new(), |_| {
                    let file = std::fs::OpenOptions::new().create(true).append(true).open(&file);
                    async move { writeln!(file.fatal("opening")?, "x").fatal("writing") }
                });
                step.await
            }
        }))
    };
    let report = Harness::new(NewRun::of("wrong", json!({})), wrong, files).try_all().await;
    assert!(report.failures.iter().any(|text| text.contains("repeated")), "{report}");
    assert!(report.failures.iter().any(|text| text.contains("stopped dead")), "{report}");
}
