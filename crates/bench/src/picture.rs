//! The figures as a picture: bars for the tools, lines for how kiln's time grows.

use std::fmt::Write;

use crate::curve::Curve;
use crate::figure::{figure, seconds};
use crate::report::Session;
use crate::round::Outcome;
use crate::tool::Candidate;

const WIDTH: usize = 960;
const LEFT: usize = 350;
const BAR: usize = 11;
const GAP: usize = 14;
const COLOURS: [&str; 3] = ["#d9480f", "#868e96", "#4c6ef5"];
const PANEL: (usize, usize) = (210, 130);

/// The whole picture. Of each workload the longest bar has the full width, so bars of one workload compare and those of two do not.
pub(crate) fn svg(session: &Session, tools: &[Candidate], outcomes: &[Outcome]) -> String {
    let mut body = String::new();
    let mut y = head(&mut body, session, tools);
    for outcome in outcomes.iter().filter(|o| o.workload.curve.is_none() && o.workload.peers) {
        y = bars(&mut body, outcome, y);
    }
    let curves: Vec<_> = outcomes.iter().filter_map(|o| Some((o.workload.curve?, Curve::of(o)?))).collect();
    if !curves.is_empty() {
        y += 30;
        line(
            &mut body,
            (20, y),
            "title",
            "How kiln's time grows: medians, and the straight line through them",
        );
        for (n, (what, curve)) in curves.iter().enumerate() {
            panel(&mut body, (30 + n * (PANEL.0 + 22), y + 24), what, curve);
        }
        y += PANEL.1 + 60;
    }
    let height = y + 20;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <style>.title{{font-size:16px;font-weight:600}}.small{{font-size:11px;fill:#495057}}.number{{font-size:11px}}.label{{font-size:10px}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// Title and legend; the result is where to go on.
fn head(body: &mut String, session: &Session, tools: &[Candidate]) -> usize {
    line(body, (20, 30), "title", "Time for the same build: shorter is better");
    let about = format!("{}; {}", session.machine.date, session.machine.facts.join(", "));
    line(body, (20, 50), "small", &about);
    for (n, tool) in tools.iter().enumerate() {
        let x = 20 + n * 120;
        rect(body, (x, 62), (14, BAR), COLOURS[n % COLOURS.len()]);
        line(body, (x + 20, 72), "", tool.name);
    }
    95
}

fn bars(body: &mut String, outcome: &Outcome, top: usize) -> usize {
    let figures: Vec<_> = outcome.tools.iter().map(|t| figure(outcome.workload, t)).collect();
    let longest = figures.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let title = outcome.workload.title.replace('`', "");
    writeln!(
        body,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" class=\"label\">{}</text>",
        LEFT - 12,
        top + (figures.len() * BAR) / 2 + 5,
        escaped(&title)
    )
    .ok();
    let room = (WIDTH - LEFT - 130) as f64;
    for (n, value) in figures.iter().enumerate() {
        let y = top + n * BAR;
        let Some(value) = value else {
            line(body, (LEFT, y + BAR - 2), "small", "-");
            continue;
        };
        let width = ((value / longest * room) as usize).max(1);
        rect(body, (LEFT, y), (width, BAR - 1), COLOURS[n % COLOURS.len()]);
        let times = figures[0].filter(|_| n > 0).map(|kiln| format!("  ({:.1} x kiln)", value / kiln));
        let label = format!("{}{}", seconds(*value), times.unwrap_or_default());
        line(body, (LEFT + width + 6, y + BAR - 2), "number", &label);
    }
    top + figures.len() * BAR + GAP
}

fn panel(body: &mut String, (x, y): (usize, usize), what: &str, curve: &Curve) {
    let (width, height) = PANEL;
    let most_x = curve.points.iter().map(|p| p.0).max().unwrap_or(1).max(1);
    let most_y = curve.points.iter().map(|p| p.1.max(curve.at(p.0))).fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    let place = |size: u32, time: f64| {
        let across = f64::from(size) / f64::from(most_x) * width as f64;
        let up = (time / most_y).clamp(0.0, 1.0) * height as f64;
        (x as f64 + across, y as f64 + height as f64 - up)
    };
    writeln!(body, "<path d=\"M{x} {y}v{height}h{width}\" fill=\"none\" stroke=\"#adb5bd\"/>").ok();
    let ((x1, y1), (x2, y2)) = (place(0, curve.start), place(most_x, curve.at(most_x)));
    writeln!(
        body,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ffa94d\" stroke-width=\"2\"/>"
    )
    .ok();
    for (size, time) in &curve.points {
        let (cx, cy) = place(*size, *time);
        writeln!(body, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\" fill=\"{}\"/>", COLOURS[0]).ok();
    }
    let highest = curve.points.iter().map(|p| p.1).fold(0.0, f64::max);
    line(body, (x + 4, y + 10), "small", &format!("up to {}", seconds(highest)));
    let text = format!("0 to {most_x} {what}; off the line {:.0} %", curve.deviation() * 100.0);
    line(body, (x, y + height + 16), "small", &text);
}

fn rect(body: &mut String, (x, y): (usize, usize), (width, height): (usize, usize), colour: &str) {
    writeln!(body, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>")
        .ok();
}

fn line(body: &mut String, (x, y): (usize, usize), class: &str, text: &str) {
    writeln!(body, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>", escaped(text)).ok();
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Reading;
    use crate::workload::WORKLOADS;

    fn outcome(name: &str, tools: &[f64]) -> Outcome {
        let workload = WORKLOADS.iter().find(|w| w.name == name).unwrap();
        let runs = |seconds: &f64| {
            let all =
                workload.sizes.iter().map(|n| vec![Reading { seconds: seconds * f64::from(*n), peak: 1 }]);
            Ok(all.collect())
        };
        Outcome { workload, tools: tools.iter().map(runs).collect() }
    }

    #[test]
    fn the_slowest_has_the_longest_bar() {
        let mut body = String::new();
        let below = bars(&mut body, &outcome("cached", &[0.1, 2.0, 1.0]), 0);
        let widths: Vec<usize> = body
            .lines()
            .filter_map(|l| l.split_once("width=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 3);
        assert!(widths[1] > widths[2] && widths[2] > widths[0], "{widths:?}");
        assert!(body.contains("(20.0 x kiln)") && below > 3 * BAR, "{body}");
    }

    #[test]
    fn a_curve_has_a_point_for_each_size() {
        let curve = Curve::of(&outcome("curve-steps", &[0.004])).unwrap();
        let mut body = String::new();
        panel(&mut body, (0, 0), "steps", &curve);
        assert_eq!(body.matches("<circle").count(), curve.points.len());
        assert!(body.contains("0 to 100 steps; off the line 0 %"), "{body}");
    }
}
