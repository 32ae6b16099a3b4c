//! Rows as a table whose cells have several lines.

use std::fmt::Write;

use super::rows::Row;

/// The first column.
const QUESTION: usize = 22;

/// Each of the others.
const ANSWER: usize = 46;

/// The table.
pub fn table<'a>(titles: impl Iterator<Item = &'a str>, rows: &[Row]) -> String {
    let mut text = String::new();
    let titles: Vec<String> = titles.map(str::to_uppercase).collect();
    line(&mut text, "", &titles);
    for row in rows {
        let question = lines(row.question, QUESTION);
        let answers: Vec<Vec<String>> = row
            .answers
            .iter()
            .map(|answer| lines(answer, ANSWER))
            .collect();
        let height = answers.iter().chain([&question]).map(Vec::len).max();
        for index in 0..height.unwrap_or(0) {
            let cell = |lines: &Vec<String>| lines.get(index).cloned().unwrap_or_default();
            let cells: Vec<String> = answers.iter().map(cell).collect();
            line(&mut text, &cell(&question), &cells);
        }
    }
    text
}

fn line(text: &mut String, question: &str, cells: &[String]) {
    let mut line = format!("{question:QUESTION$}");
    for cell in cells {
        let _ = write!(line, "  {cell:ANSWER$}");
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Words in lines of a width; a word that is longer has a line of its own, and is cut.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        // What a guest says is shown without what could steer a terminal.
        let word: String = word
            .chars()
            .filter(|c| !c.is_control())
            .take(width)
            .collect();
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = word,
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_have_several_lines() {
        let row = Row {
            question: "devices",
            answers: vec!["none".to_owned(), "loop0 ".repeat(12).trim().to_owned()],
        };
        let text = table(["microVM", "container"].into_iter(), &[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("MICROVM") && lines[0].contains("CONTAINER"));
        assert!(lines[1].starts_with("devices  ") && lines[1].contains("none"));
        assert!(lines[2].starts_with(' ') && lines[2].ends_with("loop0"));
    }

    #[test]
    fn a_guest_cannot_steer_the_terminal() {
        assert_eq!(lines("a\u{1b}[2Jb", 40), ["a[2Jb"]);
    }
}
