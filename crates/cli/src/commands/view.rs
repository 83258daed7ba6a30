//! `beamrail view`: the viewer on this machine, for volumes named by path.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use viewer::{Library, Options, Shelf, Viewer};

use crate::exit::{Exit, Failure};
use crate::output;

/// Look at volumes in a browser
///
/// Serves the viewer on this machine (and to nobody else) until Ctrl-C, and prints the address of each
/// volume. A volume that is being reconstructed is shown as far as it is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// OME-Zarr, folder of TIFF slices, or folder that holds some of either
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Port; 0 is any that is free
    #[arg(long, value_name = "N", default_value = "0")]
    port: u16,

    /// Memory for decoded chunks in MB; answers that are being sent take up to 256 MB more
    #[arg(long, value_name = "MB", default_value = "512", value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    cache: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Serves until a signal comes.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let shelf = Shelf::new(&args.paths).map_err(|what| Failure::new(Exit::BadInput, what))?;
    let volumes = shelf.list().map_err(|what| Failure::new(Exit::Failed, what))?;
    let mut options = Options::default();
    options.cache_bytes = args.cache << 20;
    let stop = super::stop_on_signals()?;
    let fail = |what: &str, e: std::io::Error| Failure::new(Exit::Failed, format!("cannot {what}: {e}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // The allocator keeps memory for each thread that ever held a chunk.
        .max_blocking_threads(8)
        .build()
        .map_err(|e| fail("start the server's threads", e))?;
    let listener =
        runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", args.port))).map_err(|e| {
            fail(&format!("listen on port {}", args.port), e).hint("--port 0, which takes a free one")
        })?;
    let address = listener.local_addr().map_err(|e| fail("tell the address", e))?;
    let url = |id: &str| format!("http://{address}/view/{}", viewer::escape(id));
    if args.json {
        let list: Vec<_> =
            volumes.iter().map(|v| json!({ "id": v.id, "name": v.name, "url": url(&v.id) })).collect();
        output::print_json(&list)?;
    } else {
        let lines: Vec<String> = volumes.iter().map(|v| url(&v.id)).collect();
        output::print(&lines.join("\n"))?;
    }
    let viewer = Viewer::new(shelf, &options);
    let served = runtime.block_on(async {
        let task = tokio::spawn(viewer.serve(listener, stopped(stop.flag())));
        stopped(stop.flag()).await;
        // A browser that takes its time does not keep us.
        match tokio::time::timeout(Duration::from_secs(2), task).await {
            Ok(Ok(served)) => served,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    });
    // A chunk that is being decoded is not worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map_err(|e| fail("serve", e))
}

/// Ends when a signal has come.
async fn stopped(flag: Arc<AtomicBool>) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
