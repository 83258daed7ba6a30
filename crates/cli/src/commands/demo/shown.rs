//! The dashboard beside the story.

use std::io::{BufRead, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use beamline::config::Config;
use engine::Clock;

use crate::commands::serve::Background;
use crate::exit::Failure;
use crate::output;

/// Where it listens unless told otherwise: a port that is free.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Starts it, and says where it is.
pub(super) fn begin(
    config: &Config,
    clock: Clock,
    listen: Option<SocketAddr>,
) -> Result<Background, Failure> {
    let shown = Background::start(config, clock, listen.unwrap_or(ANY_PORT))?;
    output::print(&format!("The dashboard, live while the story goes on: {}\n", shown.url()))?;
    Ok(shown)
}

/// Waits for Enter, after which time passes. `false`: the end was asked for. Where nobody can press it, the dashboard
/// stays as it is until then.
pub(super) fn go_on(stopped: &dyn Fn() -> bool) -> Result<bool, Failure> {
    let (pressed, enter) = mpsc::channel();
    if std::io::stdin().is_terminal() {
        output::print("Enter lets a week pass, so that copies go; Ctrl-C ends the demonstration")?;
        // The thread ends with the process: a read of a terminal cannot be called off.
        std::thread::spawn(move || {
            let mut line = String::new();
            if std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
                let _ = pressed.send(());
            }
        });
    } else {
        output::print("Ctrl-C ends the demonstration")?;
    }
    loop {
        match enter.recv_timeout(Duration::from_millis(100)) {
            Ok(()) => return Ok(true),
            Err(RecvTimeoutError::Disconnected) if !stopped() => {
                std::thread::sleep(Duration::from_millis(100))
            }
            Err(RecvTimeoutError::Timeout) if !stopped() => {}
            Err(_) => return Ok(false),
        }
    }
}

/// Leaves it on until the end is asked for.
pub(super) fn until_the_end(shown: &Background, stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
    output::print(&format!("The dashboard goes on at {}; Ctrl-C ends it", shown.url()))?;
    while !stopped() {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
