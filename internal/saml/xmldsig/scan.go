package xmldsig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Scanner reads a document that is too large for a tree, piece by piece and as strictly as Read. It holds no more of it
// than a window of some part limits, so that memory does not grow with the document.
//
//	for e, depth, err := s.Next(); …
//		if wanted(e) {
//			part, err := s.Part(nil)
//			tree, err := part.Tree()
//		}
type Scanner struct {
	p    reader
	part Limits
	src  io.Reader

	chunk   []byte // what is read at once; at its beginning what was left of the last one
	carried int
	total   int // bytes read so far
	held    bool
}

const firstChunk = 64 << 10

// NewScanner prepares to read a document within lim. part bounds what Part passes over: its bytes and, in Tree, the rest.
func NewScanner(r io.Reader, lim, part Limits) *Scanner {
	s := &Scanner{src: r, part: part, p: reader{lim: lim, recycle: true}}
	size := firstChunk
	if known, ok := r.(interface{ Len() int }); ok { // such as a bytes.Reader
		size = min(size, known.Len()+utf8.UTFMax)
	}
	s.chunk = make([]byte, max(size, utf8.UTFMax))
	return s
}

// Next returns the name and the attributes of the next element in document order, without content, and its depth, 1 for
// the root. It is valid up to the next call. At the end of the document, when all of it has been found well-formed, the
// error is io.EOF.
func (s *Scanner) Next() (e *Element, depth int, err error) {
	for {
		k, e, err := s.next()
		switch {
		case err != nil:
			return nil, 0, err
		case k == startTag:
			return e, len(s.p.open), nil
		case k == endOfDocument:
			return nil, 0, io.EOF
		}
	}
}

// Part passes over the element that Next just returned, with all that it holds, and calls child, if there is one, for
// its child elements, each without content and valid for this call only.
func (s *Scanner) Part(child func(*Element)) (Part, error) {
	p := &s.p
	depth := len(p.open)
	if depth == 0 {
		return Part{}, errors.New("no element to pass over")
	}
	from, scope := p.open[depth-1].at, p.open[depth-1].scope
	s.held = true
	defer func() { s.held = false }()
	for len(p.open) >= depth {
		k, e, err := s.next()
		if err == nil && p.i-from > s.part.Bytes {
			err = p.at(fmt.Errorf("element of more than %d bytes: %w", s.part.Bytes, ErrLimit))
		}
		if err != nil {
			return Part{}, err
		}
		if k == startTag && len(p.open) == depth+1 && child != nil {
			child(e)
		}
	}
	return Part{xml: p.s[from:p.i], scope: p.scope[:scope], lim: s.part}, nil
}

// Part is an element that a Scanner passed over. It is valid up to the Scanner's next call.
type Part struct {
	xml   string
	scope []declaration // in force around it
	lim   Limits
}

// Tree reads the element. The tree does not keep the Scanner's window alive.
func (part Part) Tree() (*Element, error) {
	p := reader{s: strings.Clone(part.xml), lim: part.lim, eof: true, scope: slices.Clone(part.scope)}
	e, err := p.tree()
	if err != nil {
		return nil, p.at(err)
	}
	return e, nil
}

// next is the reader's next on a window that reaches far enough.
func (s *Scanner) next() (kind, *Element, error) {
	p := &s.p
	if !s.held && !p.eof && len(p.s)-p.i < s.margin() {
		if err := s.more(); err != nil {
			return 0, nil, p.at(err)
		}
	}
	k, e, _, err := p.next()
	if err != nil && !p.eof && (cutOff(p.s[p.mark:]) || cutOff(p.s[p.i:])) {
		err = fmt.Errorf("tag or text too long: %w", ErrLimit)
	}
	if err != nil {
		err = p.at(err)
	}
	return k, e, err
}

// cutOff reports whether the construct at the beginning of what is left of the window lacks its end there. It only
// chooses between two errors.
func cutOff(rest string) bool {
	for _, c := range []struct{ open, shut string }{{"<!--", "-->"}, {"<![CDATA[", "]]>"}} {
		if strings.HasPrefix(rest, c.open) {
			return !strings.Contains(rest, c.shut)
		}
		if strings.HasPrefix(c.open, rest) {
			return true
		}
	}
	switch rest[0] {
	case '&':
		return len(rest) <= len("&#x10FFFF") && !strings.Contains(rest, ";")
	case '<':
		for {
			at := strings.IndexAny(rest, `>"'`)
			if at < 0 {
				return true
			}
			if rest[at] == '>' {
				return false
			}
			_, behind, ok := strings.Cut(rest[at+1:], rest[at:at+1])
			if !ok {
				return true
			}
			rest = behind
		}
	}
	return false
}

// margin is how much of the document lies before us, at least, when a construct is read. A construct that is longer is
// refused, as all but text ends in a mark of its own, and text is looked after by reader.characters.
func (s *Scanner) margin() int { return s.part.Bytes + 1 }

// more moves the window on, to the margin or to the end of the document.
func (s *Scanner) more() error {
	p := &s.p
	var b strings.Builder
	b.Grow(len(p.s) - p.i + len(s.chunk))
	b.WriteString(p.s[p.i:])
	for !p.eof && b.Len() < s.margin() {
		n, err := io.ReadFull(s.src, s.chunk[s.carried:])
		data := s.chunk[:s.carried+n]
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			p.eof = true
		case err != nil:
			return err
		}
		if s.total += n; s.total > p.lim.Bytes {
			return fmt.Errorf("document of more than %d bytes: %w", p.lim.Bytes, ErrLimit)
		}
		keep := 0
		if !p.eof {
			keep = unfinished(data)
		}
		fresh, rest := data[:len(data)-keep], data[len(data)-keep:]
		if !utf8.Valid(fresh) {
			return errors.New("not UTF-8")
		}
		if s.total == n { // the first ones
			fresh = bytes.TrimPrefix(fresh, []byte("\ufeff"))
		}
		b.Write(lineFeeds(fresh))
		if size := min(2*len(s.chunk), s.margin()); size > len(s.chunk) && !p.eof {
			s.chunk = make([]byte, size)
		}
		s.carried = copy(s.chunk, rest)
	}
	p.base += p.i
	p.s, p.i = b.String(), 0
	return nil
}

// unfinished returns how many bytes at the end can't be judged without those that follow: a part of a character, or a
// carriage return.
func unfinished(b []byte) int {
	for i := 1; i <= min(utf8.UTFMax, len(b)); i++ {
		tail := b[len(b)-i:]
		if utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) || tail[0] == '\r' {
				return i
			}
			return 0
		}
	}
	return 0
}

// lineFeeds turns the ends of lines into line feeds, in place (XML 1.0 §2.11).
func lineFeeds(b []byte) []byte {
	at := bytes.IndexByte(b, '\r')
	if at < 0 {
		return b
	}
	out := b[:at]
	for i := at; i < len(b); i++ {
		c := b[i]
		if c == '\r' {
			c = '\n'
			if i+1 < len(b) && b[i+1] == '\n' {
				i++
			}
		}
		out = append(out, c)
	}
	return out
}
