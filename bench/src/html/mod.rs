//! A report as one page that needs nothing else: no script, no font, no address.

mod axis;
mod chart;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::machine::EMULATED;
use crate::metric::{Better, Group};
use crate::report::{Figure, Report, times};
use crate::target::Target;
use crate::units::{Unit, digits, whole};

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(report: &Report) -> String {
    let title = format!("rvm bench: {}", report.image);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(report))
                    (overview(report))
                    @for group in Group::ALL { (section(report, group)) }
                    (numbers(report))
                    (foot(report))
                }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report) -> Markup {
    let machine = &report.machine;
    html! {
        header {
            p.eyebrow { "rvm bench · " (report.image) }
            h1 {
                @match report.headline() {
                    Some(headline) => (headline),
                    None => { "What it costs to run " (report.image) }
                }
            }
            @if machine.ring0_emulated && report.targets.contains(&Target::Vm) {
                p.warning { strong { "Ring 0 is emulated here. " } (EMULATED) }
            }
            @if !report.command.is_empty() {
                p { "Your command: " code { (report.command.join(" ")) } }
            }
            dl.machine {
                (fact("Processor", &format!("{} × {}", machine.processors, machine.processor)))
                (fact("Memory", &Unit::Bytes.show(machine.memory_bytes as f64)))
                (fact("Kernel", &format!("Linux {}, {}", machine.kernel, machine.operating_system)))
                (fact("KVM", &machine.kvm))
                (fact("Load", &format!("{:.2} before, {:.2} after", machine.load_before, machine.load_after)))
                (fact("Run", &format!("{} rounds in {:.0} s, {}", report.rounds, report.seconds, day(&report.begun))))
            }
            p.legend {
                @for target in &report.targets {
                    span.(class(*target)) { i {} (target.title()) }
                }
            }
        }
    }
}

fn day(begun: &str) -> String {
    begun.chars().take(16).collect::<String>().replace('T', " ") + " UTC"
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// The class of a target's colour.
fn class(target: Target) -> String {
    format!("of-{}", target.name())
}

/// What a microVM costs, against a container, of all figures at once.
fn overview(report: &Report) -> Markup {
    let costs: Vec<_> = report
        .figures
        .iter()
        .filter_map(|figure| Some((figure, figure.cost()?)))
        .collect();
    if costs.is_empty() {
        return html! {};
    }
    let values = costs.iter().flat_map(|(_, cost)| [cost.low, cost.high]);
    let axis = axis::Axis::around_one(values);
    html! {
        section.overview {
            h2 { "What a microVM costs, against a container" }
            p.about { "Right of the line a microVM is dearer, left of it it is cheaper. Each step of the scale is a factor; bars are intervals." }
            div.rows {
                @for (figure, cost) in &costs {
                    div.row {
                        span.name { (figure.metric.title()) }
                        (chart::factor(&axis, *cost, figure.metric.title()))
                        span.value { (factor(cost.median)) }
                    }
                }
                div.row.axis { span.name {} (chart::scale(&axis, Unit::Count, factor)) span.value {} }
            }
        }
    }
}

fn factor(cost: f64) -> String {
    match cost {
        large if large >= 9.95 => format!("{}×", whole(large)),
        small if small < 0.095 => format!("1/{}", whole(1.0 / small)),
        middle => format!("{}×", digits(middle).trim_end_matches(".00")),
    }
}

fn section(report: &Report, group: Group) -> Markup {
    let figures: Vec<&Figure> = report
        .figures
        .iter()
        .filter(|figure| figure.metric.group() == group)
        .collect();
    if figures.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { (group.title()) }
            @for figure in figures { (card(figure)) }
        }
    }
}

fn card(figure: &Figure) -> Markup {
    let metric = figure.metric;
    let samples = figure.series.iter().flat_map(|series| {
        let ends = [series.interval.low, series.interval.high];
        series.samples.iter().copied().chain(ends)
    });
    let axis = axis::Axis::of(samples);
    let better = match metric.better() {
        Better::Lower => "less is better",
        Better::Higher => "more is better",
    };
    html! {
        article {
            h3 {
                (metric.title())
                @if let Some(cost) = figure.cost() { small { "costs " (times(cost)) } }
            }
            p.about { (metric.about()) "; " (better) @if axis.is_logarithmic() { "; logarithmic scale" } "." }
            div.rows {
                @for series in &figure.series {
                    div.row.(class(series.target)) {
                        span.name { (series.target.title()) }
                        (chart::samples(&axis, series, metric))
                        span.value { (metric.unit().show(series.interval.median)) }
                    }
                }
                div.row.axis { span.name {} (chart::scale(&axis, metric.unit(), |value| metric.unit().mark(value))) span.value {} }
            }
        }
    }
}

fn numbers(report: &Report) -> Markup {
    html! {
        details {
            summary { "All numbers" }
            div.scroll {
                table {
                    thead { tr { th { "figure" } th { "target" } th { "median" } th { "interval" } th { "outliers" } th { "samples" } } }
                    tbody {
                        @for figure in &report.figures {
                            @for series in &figure.series {
                                tr {
                                    td { (figure.metric.title()) }
                                    td { (series.target.title()) }
                                    td { (figure.metric.unit().show(series.interval.median)) }
                                    td { (figure.metric.unit().range(series.interval.low, series.interval.high, series.interval.median)) }
                                    td { (series.outliers.len()) }
                                    td { (series.samples.len()) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn foot(report: &Report) -> Markup {
    html! {
        footer {
            @for note in &report.notes { p { strong { "Note: " } (note) "." } }
            p { strong { "Method: " } "in each round the targets take turns; one warm-up goes ahead. A point is a round's sample, the line its median, the bar the median's interval, a hollow point an outlier. " (report.method) }
            p { "rvm " (report.rvm) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    /// Elements that have no end.
    const VOID: [&str; 1] = ["meta"];

    /// Follows every tag; panics at the first that does not fit.
    fn well_formed(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.starts_with('!') {
                let name = tag.split(' ').next().unwrap_or_default();
                if !VOID.contains(&name) {
                    open.push(name);
                }
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            }
        }
        assert!(open.is_empty(), "{open:?} are not closed");
    }

    #[test]
    fn the_page_is_well_formed_and_escapes_what_it_shows() {
        let page = page(&example(0.6));
        well_formed(&page);
        assert!(page.contains("nginx &amp; &lt;friends&gt;"));
        assert!(page.contains("&lt;angle brackets&gt;"));
        assert!(page.contains("Ring 0 is emulated"));
        assert!(!page.contains("NaN") && !page.contains("inf%"));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page(&example(0.6));
        for outside in [
            "http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn factors_are_short() {
        assert_eq!(factor(667.2), "667×");
        assert_eq!(factor(1.0), "1×");
        assert_eq!(factor(1.25), "1.25×");
        assert_eq!(factor(0.05), "1/20");
    }
}
