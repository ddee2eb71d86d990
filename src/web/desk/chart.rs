//! Two small charts as SVG by hand: a funnel, and bars over time. Text takes the page's color and bars a class, so that dark mode
//! works and no inline style is needed (the page's CSP forbids it).

use std::fmt::Write;

/// Bars of one series, one unit wide each, from the left of `room` for so many, stretched by the page to its width. Whoever cannot see them
/// reads the table.
pub fn bars(values: &[u64], room: usize) -> String {
    const HEIGHT: u64 = 32;
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" aria-hidden="true" viewBox="0 0 {} {HEIGHT}" preserveAspectRatio="none">"#,
        values.len().max(room).max(1)
    );
    for (i, value) in values.iter().enumerate().filter(|(_, v)| **v > 0) {
        // Something is never drawn as nothing.
        let height = (u128::from(*value) * u128::from(HEIGHT) / u128::from(most)).max(2);
        let y = u128::from(HEIGHT) - height;
        let _ = write!(svg, r#"<rect class="bar" x="{i}.1" y="{y}" width="0.8" height="{height}"/>"#);
    }
    svg.push_str("</svg>");
    svg
}

/// The share of `part` in `whole` as a bar, out of a hundred.
pub fn share(part: &u64, whole: &u64) -> String {
    let width = if *part == 0 { 0 } else { (u128::from(*part) * 100 / u128::from((*whole).max(1))).clamp(1, 100) };
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none">"#,
            r#"<rect class="rail" width="100" height="8"/><rect class="bar" width="{}" height="8"/></svg>"#
        ),
        width
    )
}
