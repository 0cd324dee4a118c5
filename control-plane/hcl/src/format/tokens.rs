//! A text as tokens that together hold every byte of it but the blanks between them. For texts that the parser takes.

/// What a token is, as far as the layout cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Newline,
    /// Up to and with its newline, unless it is in `/* */`.
    Comment,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    OpenParen,
    CloseParen,
    /// `${` or `%{`, with a `~`.
    OpenHole,
    CloseHole,
    OpenQuote,
    CloseQuote,
    /// `<<WORD` with its newline.
    OpenHeredoc,
    /// The end word with the blanks before it.
    CloseHeredoc,
    /// Text in quotes or in a heredoc.
    Text,
    Dot,
    Comma,
    Ellipsis,
    DoubleColon,
    Bang,
    Minus,
    Equal,
    Colon,
    Question,
    /// Any other operator: no operand ends with it.
    Operator,
    /// `=>`
    Arrow,
    /// The end of the text.
    End,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub kind: Kind,
    pub text: &'s str,
    /// How many blanks stand before it.
    pub blanks_before: usize,
}

impl Token<'_> {
    /// Whether a line ends with this token.
    pub fn ends_line(&self) -> bool {
        match self.kind {
            Kind::Newline => true,
            Kind::Comment => self.text.ends_with('\n'),
            _ => false,
        }
    }

    /// 1 for what opens a bracket, -1 for what closes one.
    pub fn depth_change(&self) -> i64 {
        match self.kind {
            Kind::OpenBrace | Kind::OpenBracket | Kind::OpenParen | Kind::OpenHole => 1,
            Kind::CloseBrace | Kind::CloseBracket | Kind::CloseParen | Kind::CloseHole => -1,
            _ => 0,
        }
    }
}

/// What is open around the place that is being read.
enum Mode<'s> {
    Brace,
    Hole,
    Quoted,
    Heredoc { word: &'s str },
}

struct Lexer<'s> {
    text: &'s str,
    at: usize,
    /// Where the last token ended.
    end: usize,
    modes: Vec<Mode<'s>>,
    tokens: Vec<Token<'s>>,
}

/// All tokens of a text, the last one being its end.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { text, at: 0, end: 0, modes: Vec::new(), tokens: Vec::new() };
    while lexer.at < text.len() {
        match lexer.modes.last() {
            Some(Mode::Quoted) => lexer.quoted(),
            Some(Mode::Heredoc { word }) => {
                let word = *word;
                lexer.heredoc(word);
            }
            Some(Mode::Brace | Mode::Hole) | None => lexer.code(),
        }
    }
    lexer.push(Kind::End, 0);
    lexer.tokens
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, width: usize) {
        let text = &self.text[self.at..self.at + width];
        self.tokens.push(Token { kind, text, blanks_before: self.at - self.end });
        self.at += width;
        self.end = self.at;
    }

    /// How many bytes the characters at the start take that pass.
    fn run(&self, passes: impl Fn(char) -> bool) -> usize {
        self.rest().find(|c| !passes(c)).unwrap_or(self.rest().len())
    }

    fn code(&mut self) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return };
        let through = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
        match first {
            ' ' | '\t' => self.at += 1,
            '\n' => self.push(Kind::Newline, 1),
            '\r' if rest.starts_with("\r\n") => self.push(Kind::Newline, 2),
            '#' => self.push(Kind::Comment, through("\n")),
            '/' if rest.starts_with("//") => self.push(Kind::Comment, through("\n")),
            '/' if rest.starts_with("/*") => self.push(Kind::Comment, through("*/")),
            '"' => {
                self.push(Kind::OpenQuote, 1);
                self.modes.push(Mode::Quoted);
            }
            '{' => {
                self.push(Kind::OpenBrace, 1);
                self.modes.push(Mode::Brace);
            }
            '}' => match self.modes.pop() {
                Some(Mode::Hole) => self.push(Kind::CloseHole, 1),
                _ => self.push(Kind::CloseBrace, 1),
            },
            '~' if rest.starts_with("~}") && matches!(self.modes.last(), Some(Mode::Hole)) => {
                self.modes.pop();
                self.push(Kind::CloseHole, 2);
            }
            '<' if rest.starts_with("<<") => self.open_heredoc(),
            '0'..='9' => {
                let width = self.number();
                self.push(Kind::Number, width);
            }
            c if c.is_alphanumeric() || c == '_' => {
                let width = self.run(|c| c.is_alphanumeric() || c == '_' || c == '-' || is_mark(c));
                self.push(Kind::Word, width);
            }
            _ => {
                let (kind, width) = sign(rest, first);
                self.push(kind, width);
            }
        }
    }

    /// Digits, a fraction and an exponent; `1.a` and `1...` are not fractions.
    fn number(&self) -> usize {
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut width = digits(0);
        if bytes.get(width) == Some(&b'.') && digits(width + 1) > 0 {
            width += 1 + digits(width + 1);
        }
        if let Some(b'e' | b'E') = bytes.get(width) {
            let sign = usize::from(matches!(bytes.get(width + 1), Some(b'+' | b'-')));
            let start = width + 1 + sign;
            if start <= bytes.len() && digits(start) > 0 {
                width = start + digits(start);
            }
        }
        width
    }

    fn open_heredoc(&mut self) {
        let head = self.rest().split_inclusive('\n').next().unwrap_or_default();
        let word = head[2..].strip_prefix('-').unwrap_or(&head[2..]).trim_end();
        let is_word =
            !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-' || is_mark(c));
        if !is_word || !head.ends_with('\n') {
            return self.push(Kind::Operator, 2);
        }
        self.push(Kind::OpenHeredoc, head.len());
        self.modes.push(Mode::Heredoc { word });
        self.close_heredoc(word);
    }

    /// At the start of a heredoc line: takes the end word when it stands there alone.
    fn close_heredoc(&mut self, word: &str) -> bool {
        let line = self.rest().split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let is_end = line.trim() == word;
        if is_end {
            self.push(Kind::CloseHeredoc, line.len());
            self.modes.pop();
        }
        is_end
    }

    /// Takes the opening of a hole, if there is one.
    fn open_hole(&mut self) -> bool {
        let rest = self.rest();
        if !rest.starts_with("${") && !rest.starts_with("%{") {
            return false;
        }
        self.push(Kind::OpenHole, if rest[2..].starts_with('~') { 3 } else { 2 });
        self.modes.push(Mode::Hole);
        true
    }

    fn quoted(&mut self) {
        let width = text_width(self.rest(), true);
        if width > 0 {
            self.push(Kind::Text, width);
        }
        if self.at < self.text.len() && !self.open_hole() {
            self.push(Kind::CloseQuote, 1);
            self.modes.pop();
        }
    }

    /// One line of a heredoc, or what of it stands before a hole.
    fn heredoc(&mut self, word: &'s str) {
        let width = text_width(self.rest(), false);
        if width > 0 {
            self.push(Kind::Text, width);
        }
        if self.text[..self.at].ends_with('\n') && width > 0 && self.close_heredoc(word) {
            return;
        }
        self.open_hole();
    }
}

/// A sign or the like that stands inside names.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && !c.is_whitespace()
}

/// Bytes of plain text up to a hole, and in quotes up to the closing one, else up to the end of the line.
fn text_width(rest: &str, is_quoted: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let tail = &bytes[at..];
        if tail.starts_with(b"$${") || tail.starts_with(b"%%{") {
            at += 3;
        } else if tail.starts_with(b"${") || tail.starts_with(b"%{") || (is_quoted && tail[0] == b'"') {
            return at;
        } else if is_quoted && tail[0] == b'\\' {
            at += 2;
        } else if !is_quoted && tail[0] == b'\n' {
            return at + 1;
        } else {
            at += 1;
        }
    }
    // An escape at the very end may have stepped over it.
    bytes.len()
}

fn sign(rest: &str, first: char) -> (Kind, usize) {
    const LONG: [(&str, Kind); 9] = [
        ("...", Kind::Ellipsis),
        ("::", Kind::DoubleColon),
        ("=>", Kind::Arrow),
        ("==", Kind::Operator),
        ("!=", Kind::Operator),
        (">=", Kind::Operator),
        ("<=", Kind::Operator),
        ("&&", Kind::Operator),
        ("||", Kind::Operator),
    ];
    if let Some((sign, kind)) = LONG.iter().find(|(sign, _)| rest.starts_with(sign)) {
        return (*kind, sign.len());
    }
    let kind = match first {
        '[' => Kind::OpenBracket,
        ']' => Kind::CloseBracket,
        '(' => Kind::OpenParen,
        ')' => Kind::CloseParen,
        '.' => Kind::Dot,
        ',' => Kind::Comma,
        '!' => Kind::Bang,
        '-' => Kind::Minus,
        '=' => Kind::Equal,
        ':' => Kind::Colon,
        '?' => Kind::Question,
        _ => Kind::Operator,
    };
    (kind, first.len_utf8())
}
