//! Configuration files may hold nested blocks on one line (`plugin "raw_exec" { config { enabled = true } }`), which
//! the grammar of job files does not allow. Such blocks are spread over lines before parsing, and places in the spread
//! text are led back to the text as written.

use drover_hcl::Span;

/// A text with line ends put in.
pub struct Spread {
    /// The text.
    pub text: String,
    /// Where line ends were put in, in the spread text, ascending.
    added: Vec<usize>,
}

impl Spread {
    /// The place in the text as written.
    pub fn written(&self, span: Span) -> Span {
        let back = |place: usize| place - self.added.partition_point(|added| *added < place);
        Span { start: back(span.start), end: back(span.end) }
    }

    fn line_end(&mut self) {
        self.added.push(self.text.len());
        self.text.push('\n');
    }
}

/// Puts a line end behind each opening brace of a block and around each closing one.
pub fn spread(text: &str) -> Spread {
    let mut out = Spread { text: String::with_capacity(text.len() + 64), added: Vec::new() };
    // For each open bracket, whether it is the brace of a block.
    let mut open: Vec<bool> = Vec::new();
    let mut before = '\n';
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = opaque_length(rest);
        if skipped > 0 {
            out.text.push_str(&rest[..skipped]);
            before = if rest.starts_with(['#', '/']) { before } else { '"' };
            rest = &rest[skipped..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '{' => {
                let is_block = !matches!(before, '=' | ':' | ',' | '(' | '[') && open.iter().all(|is_block| *is_block);
                open.push(is_block);
                out.text.push(c);
                if is_block {
                    out.line_end();
                }
            }
            '[' | '(' => {
                open.push(false);
                out.text.push(c);
            }
            '}' if open.pop() == Some(true) => {
                out.line_end();
                out.text.push(c);
                out.line_end();
            }
            ']' | ')' => {
                open.pop();
                out.text.push(c);
            }
            _ => out.text.push(c),
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    out
}

/// How long the comment, quoted text or heredoc is that the text begins with; 0 when it begins with none.
fn opaque_length(text: &str) -> usize {
    let to_line_end = |text: &str| text.find('\n').unwrap_or(text.len());
    if text.starts_with('#') || text.starts_with("//") {
        return to_line_end(text);
    }
    if let Some(inside) = text.strip_prefix("/*") {
        return inside.find("*/").map_or(text.len(), |end| end + 4);
    }
    if let Some(inside) = text.strip_prefix('"') {
        let mut is_escaped = false;
        for (place, c) in inside.char_indices() {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                // A quote that is missing must not swallow the rest of the file.
                '"' | '\n' => return place + 2,
                _ => {}
            }
        }
        return text.len();
    }
    let Some(marker) = text.strip_prefix("<<") else {
        return 0;
    };
    let marker = marker.strip_prefix('-').unwrap_or(marker);
    let marker = &marker[..to_line_end(marker)];
    let mut length = to_line_end(text);
    for line in text[length..].split_inclusive('\n').skip(1) {
        length += line.len();
        if line.trim() == marker.trim() {
            break;
        }
    }
    (length + 1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_are_spread_and_places_lead_back() {
        let check = |text: &str, expected: &str| {
            let spread = spread(text);
            assert_eq!(spread.text, expected);
            let place = spread.text.find('x').unwrap_or(0);
            let back = spread.written(Span { start: place, end: place }).start;
            assert_eq!(back, text.find('x').unwrap_or(0), "{text}");
        };
        check("a { b { x = 1 } }", "a {\n b {\n x = 1 \n}\n \n}\n");
        check("m = { x = { y = 1 } }", "m = { x = { y = 1 } }");
        check("l = [{ a = 1 }, x]", "l = [{ a = 1 }, x]");
        check("a = \"{ \\\" }\" # { x\n", "a = \"{ \\\" }\" # { x\n");
        check("/* { */ x = 1", "/* { */ x = 1");
        check("a = <<E\n{ x }\nE\nb {}", "a = <<E\n{ x }\nE\nb {\n\n}\n");
        check("}} x", "}} x");
    }
}
