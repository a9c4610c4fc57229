package page

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// byTheLibrary is what the form is by definition.
func byTheLibrary(t *testing.T, p *Page, arrays bool) []byte {
	t.Helper()
	var out bytes.Buffer
	enc := msgpack.NewEncoder(&out)
	enc.UseCompactInts(true)
	enc.SetOmitEmpty(!arrays)
	enc.UseArrayEncodedStructs(arrays)
	if err := enc.Encode(&form{formVersion, *p}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// draw gives a value of each field by chance: zero often, and what is at the edge of a length or a width.
func draw(v reflect.Value, rng *rand.Rand) {
	edges := []int64{0, 1, 31, 32, 127, 128, 255, 256, 1<<15 - 1, 1 << 15, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, math.MaxInt64}
	if v.Kind() != reflect.Struct && rng.IntN(3) == 0 {
		return
	}
	edge := edges[rng.IntN(len(edges))]
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			draw(v.Field(i), rng)
		}
	case reflect.Slice:
		n := []int{0, 1, 2, 3, 15, 16, 17}[rng.IntN(7)]
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(bytes.Repeat([]byte{7}, 32*min(n, 1)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			draw(v.Index(i), rng)
		}
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(edge))
	case reflect.Int32, reflect.Int64:
		if v.SetInt(edge); rng.IntN(3) == 0 {
			v.SetInt(-edge - int64(rng.IntN(2)))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(strings.Repeat("x", []int{0, 1, 31, 32, 255, 256, 1<<16 - 1, 1 << 16}[min(rng.IntN(100), 7)%8]))
		if rng.IntN(20) > 0 {
			v.SetString("cohort-0001")
		}
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

func TestAPageIsWrittenAsTheLibraryWritesIt(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	pages := []*Page{full(), {}, {N: 1, Until: 5_000}, {N: 1, Slots: []Slot{{Cohort: "c", Back: make([]uint32, 1<<16)}}}}
	for range 30 {
		var p Page
		draw(reflect.ValueOf(&p).Elem(), rng)
		pages = append(pages, &p)
	}
	for i, p := range pages {
		for _, arrays := range []bool{false, true} {
			if reflect.DeepEqual(p, &Page{}) && !arrays {
				continue // without a number it is none
			}
			if got, want := p.write(arrays), byTheLibrary(t, p, arrays); !bytes.Equal(got, want) {
				n := 0
				for n < min(len(got), len(want)) && got[n] == want[n] {
					n++
				}
				t.Fatalf("page %d, arrays %v: from byte %d of %d and %d\n%q\n%q", i, arrays, n, len(got), len(want), got[n:min(n+60, len(got))], want[n:min(n+60, len(want))])
			}
		}
	}
}

func TestAHeadIsThePagesOwn(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	pages := []*Page{full(), {N: 1, Until: 5_000}, many(300, 2)}
	for range 30 {
		var p Page
		draw(reflect.ValueOf(&p).Elem(), rng)
		pages = append(pages, &p)
	}
	read := 0
	for i, p := range pages {
		for _, arrays := range []bool{false, true} {
			value := p.write(arrays)
			want, err := Decode(nil, value)
			if err != nil {
				continue // a head may be read all the same
			}
			read++
			got, err := DecodeHead(nil, value)
			if err != nil || !reflect.DeepEqual(got, Head{want.Part, want.N, want.Until, want.Registry, want.Snapshot}) {
				t.Fatalf("page %d, arrays %v: %v, %+v", i, arrays, err, got)
			}
		}
	}
	if read < 5 {
		t.Errorf("%d pages were read", read)
	}
	value := full().write(false)
	for n := range value {
		if h, err := DecodeHead(nil, value[:n]); err == nil {
			t.Fatalf("the first %d bytes of %d have the head %+v", n, len(value), h)
		}
	}
}
