//! `rvm search`.

use rvm_engine::image::search;

use crate::arguments_image::Search;
use crate::failure::Failure;
use crate::table;

/// Docker's width of the column DESCRIPTION.
const DESCRIPTION_WIDTH: usize = 45;

pub fn run(command: &Search) -> Result<u8, Failure> {
    if !(1..=100).contains(&command.limit) {
        let limit = command.limit;
        return Err(Failure::new(
            1,
            format!("limit {limit} is outside the range of [1, 100]"),
        ));
    }
    let hits = search(&command.term, command.limit)?;
    let clean = |text: &str| text.replace(char::is_control, " ");
    let rows: Vec<Vec<String>> = hits
        .iter()
        .map(|hit| {
            let description = clean(&hit.description);
            vec![
                clean(&hit.name),
                if command.no_trunc {
                    description
                } else {
                    table::cut(&description, DESCRIPTION_WIDTH)
                },
                hit.star_count.to_string(),
                if hit.is_official { "[OK]" } else { "" }.to_owned(),
            ]
        })
        .collect();
    table::print(&["NAME", "DESCRIPTION", "STARS", "OFFICIAL"], &rows);
    Ok(0)
}
