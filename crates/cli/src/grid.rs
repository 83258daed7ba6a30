//! Tables with columns, for listings.

/// Rows below a line of titles; columns as wide as their widest value.
pub(crate) struct Grid {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Grid {
    /// A grid with these titles; a title that begins with `>` makes its column right-aligned.
    pub(crate) fn new(titles: &[&str]) -> Self {
        let right = titles.iter().map(|title| title.starts_with('>')).collect();
        let titles = titles.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![titles], right }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A listing has one line an item, whatever was put into a name.
        let clean = |cell: String| cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Whether there are no rows below the titles.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The table as text.
    pub(crate) fn text(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column).unwrap_or(0);
                let gap = if column == 0 { "" } else { "  " };
                line += gap;
                match self.right.get(column) {
                    Some(true) => line += &format!("{cell:>width$}"),
                    _ => line += &format!("{cell:width$}"),
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut grid = Grid::new(&["name", ">bytes"]);
        assert!(grid.is_empty());
        grid.row(["a\tb".into(), "1".into()]);
        grid.row(["longer".into(), "1000".into()]);
        assert_eq!(grid.text(), "name    bytes\na b         1\nlonger   1000\n");
    }
}
