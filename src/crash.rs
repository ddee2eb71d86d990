//! Named places at which a debug build can be made to die on the spot, for the tests of what a crash leaves behind. A release build
//! has none of it: there [`point`] is empty.

/// Dies here, with nothing finished and nothing said, if the environment asks for it: `PERMESSO_CRASH="after-claim 3"` is the
/// third passing of that place.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let armed = std::env::var("PERMESSO_CRASH").ok()?;
        let (name, passing) = armed.split_once(' ').unwrap_or((&armed, "1"));
        Some((name.to_owned(), passing.parse().expect("PERMESSO_CRASH is a place and a number")))
    });
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if let Some((armed, passing)) = ARMED.as_ref()
        && armed == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passing
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub fn point(_: &'static str) {}
