package wire

// Kind is the type of a token.
type Kind uint8

const (
	End     Kind = iota // of the list or map that is open, or of the document when none is
	Null                //
	Bool                // Int is 0 or 1
	Int                 // Int
	Uint                // uint64(Int), above the range of int64
	Float               // Float
	Decimal             // Int / 10^Scale, exactly what the text said; its double is Float
	Huge                // a number that no type holds; Bytes is its text
	Text                // Bytes
	Bin                 // Bytes
	Key                 // Bytes; its value follows
	List                // its elements follow, then End
	Map                 // its keys and values follow, then End
)

func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "an integer", "an integer above int64", "a float", "a decimal",
		"a number out of range", "a text", "binary", "a key", "a list", "a map"}[k]
}

// Token is one element. Bytes alias the document or the reader and are good until the next call.
type Token struct {
	Kind  Kind
	Scale uint8
	Int   int64
	Float float64
	Bytes []byte
}

// Tokens is a document as a flat sequence. After an error a reader is spent.
type Tokens interface {
	Next() (Token, *Error)
	Offset() int
}

// Limits bounds a document.
type Limits struct {
	Body     int  // bytes; 0 = no limit
	Depth    int  // nesting, at most 32
	Elements int  // keys included
	Keys     int  // of one map, at most 1,024
	AnyText  bool // text values may be invalid UTF-8 (keys never)
	Prefix   bool // bytes may follow the document
}

const maxDepth = 32

// Skip passes over the value whose first token is t.
func Skip(src Tokens, t Token) *Error {
	depth := 0
	for {
		switch t.Kind {
		case List, Map:
			depth++
		case End:
			depth--
		}
		if depth == 0 && t.Kind != Key {
			return nil
		}
		var err *Error
		if t, err = src.Next(); err != nil {
			return err
		}
	}
}
