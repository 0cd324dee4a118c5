//! Which crates a binary's bytes come from, and which of them grew: read from the map that the linker writes.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A crate that changed by less is not told, and one that is smaller has no row of its own.
const BYTES_MIN: u64 = 8 << 10;
/// What is of no crate or of small ones.
const OTHERS: &str = "(others)";
/// What a table begins with.
const HEAD: &str = "crate\tbytes\n";

/// Bytes by crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    /// From a map as lld writes it; `None` when it is not one.
    ///
    /// Functions count for the crate that wrote them, so what is generic counts for its author and not for its user.
    pub fn of_map(map: &str) -> Option<Self> {
        let (head, rows) = map.split_once('\n')?;
        if !head.split_whitespace().eq(["VMA", "LMA", "Size", "Align", "Out", "In", "Symbol"]) {
            return None;
        }
        let mut sizes = BTreeMap::new();
        for row in rows.lines() {
            let Some((place, section)) = row.rsplit_once(":(").map(|(place, end)| (place, end.trim_end_matches(')')))
            else {
                continue;
            };
            let bytes = place.split_whitespace().nth(2).and_then(|hex| u64::from_str_radix(hex, 16).ok());
            // What is all zeros has no bytes in the file.
            let is_empty = [".bss", ".tbss"].iter().any(|name| section.starts_with(name));
            let Some(bytes) = bytes.filter(|_| !is_empty) else { continue };
            *sizes.entry(author(section)).or_default() += bytes;
        }
        let small: Vec<String> =
            sizes.iter().filter(|(_, bytes)| **bytes < BYTES_MIN).map(|(name, _)| name.clone()).collect();
        for name in small {
            let bytes = sizes.remove(&name).unwrap_or_default();
            *sizes.entry(OTHERS.to_owned()).or_default() += bytes;
        }
        Some(Self(sizes))
    }

    /// From a table as [`Sizes::table`] writes it.
    ///
    /// # Errors
    /// A row that is none.
    pub fn of_table(table: &str) -> Result<Self, String> {
        let rows = table.strip_prefix(HEAD).ok_or("the head of the table is missing")?;
        let row = |row: &str| {
            let (name, bytes) = row.split_once('\t')?;
            Some((name.to_owned(), bytes.parse().ok()?))
        };
        rows.lines()
            .map(|line| row(line).ok_or_else(|| format!("not a crate and its bytes: {line}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// One line for each crate.
    pub fn table(&self) -> String {
        self.0.iter().fold(HEAD.to_owned(), |mut table, (name, bytes)| {
            // Writing to a string does not fail.
            let _ = writeln!(table, "{name}\t{bytes}");
            table
        })
    }

    /// What changed since, the largest growth first: one line each.
    pub fn changes_since(&self, earlier: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(earlier.0.keys()).collect();
        let bytes = |sizes: &Self, name: &String| sizes.0.get(name).copied().unwrap_or_default();
        let mut changed: Vec<(i64, &String)> = names
            .into_iter()
            .map(|name| (bytes(self, name).cast_signed() - bytes(earlier, name).cast_signed(), name))
            .filter(|(change, _)| change.unsigned_abs() >= BYTES_MIN)
            .collect();
        changed.sort_by_key(|(change, name)| (std::cmp::Reverse(*change), *name));
        changed.into_iter().map(|(change, name)| format!("{change:+10}  {name}")).collect()
    }
}

/// The crate that a section's function is of: its symbol's path begins with it.
fn author(section: &str) -> String {
    let symbol = section.find("._ZN").or_else(|| section.find("._R")).map(|at| &section[at + 1..]);
    let Some(symbol) = symbol.and_then(|symbol| rustc_demangle::try_demangle(symbol).ok()) else {
        return OTHERS.to_owned();
    };
    let path = format!("{symbol:#}");
    // Dropping a value is its type's affair.
    let path = path.strip_prefix("core::ptr::drop_in_place").unwrap_or(&path);
    let path = path.trim_start_matches(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let path = ["mut ", "const ", "dyn "].iter().find_map(|word| path.strip_prefix(word)).unwrap_or(path);
    let end = path.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(path.len());
    if path[end..].starts_with("::") { path[..end].to_owned() } else { OTHERS.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics says where")]
mod tests {
    use super::*;

    const MAP: &str = "             VMA              LMA     Size Align Out     In      Symbol
             270              270       20     4 .note.ABI-tag
             270              270       20     4         /usr/lib/rcrt1.o:(.note.ABI-tag)
           31040            31040    e03c3    64 .text
           31040            31040     3000    16         a.o:(.text._ZN5serde2de4main17h4009bc0cd8b193aaE)
           31040            31040     3000     1                 _ZN5serde2de4main17h4009bc0cd8b193aaE
           31040            31040     2000    16         a.o:(.text._ZN4core3ptr39drop_in_place$LT$regex..meta..Error$GT$17h0b6e5bf57c28fb14E)
           31040            31040     1000    16         a.o:(.text._ZN4core3ptr39drop_in_place$LT$regex..meta..Cache$GT$17h0b6e5bf57c28fb14E.llvm.16)
           31040            31040       10    16         a.o:(.text._ZN4tiny4main17h4009bc0cd8b193aaE)
           31040            31040   100000    16         a.o:(.bss._ZN4core4main17h4009bc0cd8b193aaE)
";

    #[test]
    fn a_map_is_read_by_crate_and_compared() {
        let sizes = Sizes::of_map(MAP).unwrap();
        assert_eq!(sizes.table(), "crate\tbytes\n(others)\t48\nregex\t12288\nserde\t12288\n");
        assert_eq!(Sizes::of_table(&sizes.table()).unwrap(), sizes);
        let earlier = Sizes::of_table("crate\tbytes\nserde\t1000\nregex\t12000\ngone\t9000\n").unwrap();
        assert_eq!(sizes.changes_since(&earlier), ["    +11288  serde", "     -9000  gone"]);
        assert_eq!(Sizes::of_map("Archive member included\n"), None);
        assert!(Sizes::of_table("crate\tbytes\nserde\n").is_err());
    }
}
