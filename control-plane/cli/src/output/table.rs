//! Tables and lists of fields.
//!
//! Columns stand two blanks apart, each as wide as its widest cell; nothing is padded after the last one.

/// What an empty cell shows, so that columns can be cut by tools.
pub const NONE: &str = "<none>";

/// A table with a head; empty cells show `<none>`.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    lay_out(head, rows, NONE)
}

/// A table whose empty cells stay empty; one at the end of a line keeps the blanks before it.
pub fn table_with_blanks(head: &[&str], rows: &[Vec<String>]) -> String {
    lay_out(head, rows, "")
}

fn lay_out(head: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    let shown = |cell: &str| if cell.is_empty() { empty.to_owned() } else { one_line(cell) };
    let head = head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect())).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count() + 2));
            }
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A list of fields: `Key = value`, the equal signs under each other.
#[derive(Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field; an empty value shows `<none>`.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        self.0.push((key.into(), if value.is_empty() { NONE.to_owned() } else { one_line(&value) }));
        self
    }

    /// Adds a field whose empty value stays empty.
    pub fn add_raw(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// The lines.
    pub fn text(&self) -> String {
        let width = self.0.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
        let lines = self.0.iter().map(|(key, value)| {
            let padding = " ".repeat(width - key.chars().count());
            format!("{key}{padding} = {value}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Text that came from elsewhere must not break a line or drive the terminal.
fn one_line(cell: &str) -> String {
    if !cell.contains(|c: char| c.is_control()) {
        return cell.to_owned();
    }
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_line_up_and_the_last_one_is_not_padded() {
        let rows = [row(&["4f2b771a", "default", "", "ready"]), row(&["1", "é", "k1", "down"])];
        assert_eq!(
            table(&["ID", "Node Pool", "Class", "Status"], &rows),
            "ID        Node Pool  Class   Status\n\
             4f2b771a  default    <none>  ready\n\
             1         é          k1      down"
        );
    }

    #[test]
    fn blanks_may_stay() {
        let rows = [row(&["0/20 MHz", "1.8 MiB/16 MiB", "300 MiB", ""])];
        assert_eq!(
            table_with_blanks(&["CPU", "Memory", "Disk", "Addresses"], &rows),
            "CPU       Memory          Disk     Addresses\n0/20 MHz  1.8 MiB/16 MiB  300 MiB  "
        );
    }

    #[test]
    fn fields_line_up() {
        let mut fields = Fields::new();
        fields.add("ID", "web").add("Next Eval", "").add_raw("Diff", "");
        assert_eq!(fields.text(), "ID        = web\nNext Eval = <none>\nDiff      = ");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(table(&["Name"], &[row(&["a\u{1b}[31m\nb"])]), "Name\na [31m b");
    }
}
