//! `rvm search`.

use rvm_engine::image::{Hit, search};
use serde_json::{Value, json};

use super::filter::truth;
use crate::arguments_image::Search;
use crate::failure::Failure;
use crate::listing::{Field, Format};
use crate::table;

/// Docker's width of the column DESCRIPTION.
const DESCRIPTION_WIDTH: usize = 45;

const FIELDS: [Field; 4] = [
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
];

pub fn run(command: &Search) -> Result<u8, Failure> {
    if !(1..=100).contains(&command.limit) {
        let limit = command.limit;
        return Err(Failure::new(
            1,
            format!("limit {limit} is outside the range of [1, 100]"),
        ));
    }
    let format = Format::parse(&command.format)?;
    let mut hits = search(&command.term, command.limit)?;
    for filter in &command.filter {
        filter_hits(&mut hits, filter)?;
    }
    let is_table = !matches!(format, Format::Lines(_));
    let clean = |text: &str| text.replace(char::is_control, " ");
    let rows: Vec<Value> = hits
        .iter()
        .map(|hit| {
            let description = clean(&hit.description);
            let official = match (is_table, hit.is_official) {
                (true, true) => "[OK]",
                (true, false) => "",
                (false, true) => "true",
                (false, false) => "false",
            };
            json!({
                "Name": clean(&hit.name),
                "Description": if command.no_trunc { description } else { table::cut(&description, DESCRIPTION_WIDTH) },
                "StarCount": hit.star_count.to_string(),
                "IsOfficial": official,
            })
        })
        .collect();
    let columns = FIELDS.map(|(field, _)| field);
    format.print(&FIELDS, &columns, &rows)?;
    Ok(0)
}

fn filter_hits(hits: &mut Vec<Hit>, filter: &str) -> Result<(), Failure> {
    let invalid = || Failure::new(1, format!("invalid filter '{filter}'"));
    match filter.split_once('=').ok_or_else(invalid)? {
        ("stars", least) => {
            let least = least.parse().map_err(|_| invalid())?;
            hits.retain(|hit| hit.star_count >= least);
        }
        ("is-official", wanted) => {
            let wanted = truth(wanted).ok_or_else(invalid)?;
            hits.retain(|hit| hit.is_official == wanted);
        }
        _ => return Err(invalid()),
    }
    Ok(())
}
