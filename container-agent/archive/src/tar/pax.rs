//! PAX extended headers: records of `length key=value`, values of any bytes.

/// Iterates over the records of one extended header; a malformed record is `Err` and the last.
pub(super) struct Records<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = split_record(self.0);
        match record {
            Some((key, value, rest)) => {
                self.0 = rest;
                Some(Ok((key, value)))
            }
            None => {
                self.0 = &[];
                Some(Err("a malformed PAX header"))
            }
        }
    }
}

fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = decimal(&data[..space])?.try_into().ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

/// A whole number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional fraction, to the nanosecond; a negative time counts nanoseconds upwards.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let seconds: i64 = decimal(parts.next()?)?.try_into().ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |value, i| {
        value * 10 + fraction.get(i).map_or(0, |digit| u32::from(digit - b'0'))
    });
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_line_feeds_and_equals_signs() {
        let data = b"12 k=a\nb=c\n\n9 path=x\n";
        let data = &data[..];
        assert!(
            Records(data).next().is_some_and(|r| r.is_ok()),
            "length covers the whole record"
        );
        let records: Vec<_> = Records(b"11 k=a\nb=c\n9 path=x\n").collect();
        assert_eq!(
            records,
            [
                Ok((&b"k"[..], &b"a\nb=c"[..])),
                Ok((&b"path"[..], &b"x"[..]))
            ]
        );
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        for data in [
            &b"99 path=x\n"[..],
            b"0 path=x\n",
            b"3 path=x\n",
            b"path=x\n",
            b"9 path=xy",
            b"-1 a=b\n",
        ] {
            assert!(Records(data).next().is_some_and(|r| r.is_err()), "{data:?}");
        }
    }

    #[test]
    fn times_have_nanoseconds() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(
            time(b"1700000000.123456789123"),
            Some((1_700_000_000, 123_456_789))
        );
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }
}
