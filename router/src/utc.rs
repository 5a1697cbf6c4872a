//! Times of day for people.

/// The day and the time of a Unix time in UTC: `2026-08-06 18:55:38 UTC`.
///
/// `seconds` since 1970 come from other nodes, too: any value has a text.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The Unix time of a text such as `2026-08-06T18:55:38Z`, as the Kubernetes API writes times; `None` for others
/// and before 1970.
pub(crate) fn parse_utc(text: &str) -> Option<u64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator| {
        let parts: Option<Vec<u64>> = text.split(separator).map(|part| part.parse().ok()).collect();
        <[u64; 3]>::try_from(parts?).ok()
    };
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sound {
        return None;
    }
    // Years begin in March, as below.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Year, month and day of the Gregorian calendar, `days` after 1 January 1970.
///
/// Counted in years that begin in March, so that the leap day comes last, and in eras of 400 of
/// them, which all have 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    // 719,468 days from 1 March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 31, 30, 31, 30, 31 days, and so on: 153 in five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::{parse_utc, utc};

    #[test]
    fn days_around_leap_days_and_turns_of_years() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (68_255_999, "1972-02-29 23:59:59 UTC"),
            (68_256_000, "1972-03-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (978_307_199, "2000-12-31 23:59:59 UTC"),
            (1_786_042_538, "2026-08-06 18:55:38 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
            let written = text.replace(" UTC", "Z").replace(' ', "T");
            assert_eq!(parse_utc(&written), Some(seconds), "{written}");
        }
        for text in ["", "Z", "2026-08-06", "0000-00-00T00:00:00Z", "2026-13-06T18:55:38Z", "T:Z"] {
            assert_eq!(parse_utc(text), None, "{text}");
        }
        assert!(utc(u64::MAX).ends_with(" UTC"));
    }
}
