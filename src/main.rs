//! The command line's front door.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    permesso::app::install_tls();
    permesso::cli::main().await
}
