//! Serves volumes on the loopback interface: `serve_volumes PATH...`. Prints the address of each.

use std::path::PathBuf;

use viewer::{Library, Options, Shelf, Viewer};

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example speaks to its user")]
async fn main() -> Result<(), String> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let shelf = Shelf::new(&paths)?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    for volume in shelf.list()? {
        println!("http://{address}/view/{}", volume.id);
    }
    Viewer::new(shelf, &Options::default())
        .serve(listener, std::future::pending())
        .await
        .map_err(|e| e.to_string())
}
