//! The command line's front door.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // `permesso … | head` is no error: what `println!` makes of it, as `cli::out` does where it writes itself.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<String>().is_some_and(|text| text.contains("printing to stdout: Broken pipe")) {
            std::process::exit(0);
        }
        report(panic);
    }));
    permesso::app::install_tls();
    permesso::cli::main().await
}
