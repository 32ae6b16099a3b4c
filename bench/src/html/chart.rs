//! A row of a chart: as wide as there is room, because all that lies across is in percent.

use maud::{Markup, html};

use super::axis::Axis;
use crate::metric::Metric;
use crate::report::Series;
use crate::statistics::Interval;
use crate::units::Unit;

const MIDDLE: f64 = 15.0;

/// How far points lie from the middle, one after the other, so that equal ones can be told apart.
const SPREAD: [f64; 5] = [0.0, -4.5, 4.5, -2.2, 2.2];

fn percent(place: f64) -> String {
    format!("{place:.2}%")
}

/// All samples of a target, their median and its interval.
pub fn samples(axis: &Axis, series: &Series, metric: Metric) -> Markup {
    let unit = metric.unit();
    let Interval { median, low, high } = series.interval;
    let label = format!(
        "{}, {}: {}, interval {}",
        metric.title(),
        series.target.title(),
        unit.show(median),
        unit.range(low, high, median)
    );
    html! {
        svg.strip role="img" aria-label=(label) {
            title { (label) }
            (lines(axis, unit))
            (bar(axis, series.interval))
            @for (index, sample) in series.samples.iter().enumerate() {
                @let far = if series.outliers.contains(&index) { "far" } else { "near" };
                circle class=(far) cx=(percent(axis.place(*sample))) cy=(MIDDLE + SPREAD[index % SPREAD.len()]) r="2.6" {}
            }
            (tick(axis.place(median)))
        }
    }
}

/// One factor with its interval, from 1 on.
pub fn factor(axis: &Axis, cost: Interval, title: &str) -> Markup {
    let label = format!("{title}: {:.3}", cost.median);
    let (one, place) = (axis.place(1.0), axis.place(cost.median));
    let class = match cost {
        dearer if dearer.low > 1.0 => "dearer",
        cheaper if cheaper.high < 1.0 => "cheaper",
        _ => "same",
    };
    html! {
        svg.strip.(class) role="img" aria-label=(label) {
            title { (label) }
            (lines(axis, Unit::Count))
            line.one x1=(percent(one)) x2=(percent(one)) y1="0" y2="30" {}
            line.stem x1=(percent(one)) x2=(percent(place)) y1=(MIDDLE) y2=(MIDDLE) {}
            (bar(axis, cost))
            circle.dot cx=(percent(place)) cy=(MIDDLE) r="5" {}
        }
    }
}

fn lines(axis: &Axis, unit: Unit) -> Markup {
    html! {
        @for mark in axis.marks(unit) {
            line.mark x1=(percent(axis.place(mark))) x2=(percent(axis.place(mark))) y1="0" y2="30" {}
        }
    }
}

fn bar(axis: &Axis, interval: Interval) -> Markup {
    let (left, right) = (axis.place(interval.low), axis.place(interval.high));
    html! { rect.bar x=(percent(left)) width=(percent((right - left).max(0.3))) y="6" height="18" rx="3" {} }
}

fn tick(place: f64) -> Markup {
    html! { line.median x1=(percent(place)) x2=(percent(place)) y1="3" y2="27" {} }
}

/// The marks' values, below the rows.
pub fn scale(axis: &Axis, unit: Unit, show: impl Fn(f64) -> String) -> Markup {
    html! {
        svg.scale aria-hidden="true" {
            @for mark in axis.marks(unit) {
                @let place = axis.place(mark);
                @let anchor = if place < 6.0 { "start" } else if place > 94.0 { "end" } else { "middle" };
                text x=(percent(place)) y="12" text-anchor=(anchor) { (show(mark)) }
            }
        }
    }
}
