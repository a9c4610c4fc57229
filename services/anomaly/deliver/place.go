package deliver

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// restored is a route's place in the log, as its group keeps it: up to commit everything is delivered. The rest says what a new owner
// has to know and the log does not: where to begin reading so that all open incidents are seen, up to where messages may have been under way,
// which incidents are known from a summary only, and how many the last one told of.
type restored struct {
	commit int64
	low    int64
	may    int64
	many   int // incidents in the last summary
	sums   []span
}

// span is of the records by which incidents entered, both ends inclusive.
type span struct{ from, to int64 }

func (r *restored) summed(first int64) bool {
	for _, s := range r.sums {
		if s.from <= first && first <= s.to {
			return true
		}
	}
	return false
}

// maxMetadata is less than what a broker takes with a commit (offset.metadata.max.bytes, 4,096).
const maxMetadata = 3_900

// metadata is the place's text beside the offset. Spans that do not fit are let go: their incidents then count as told on their own, and
// what is said of them is a resolve too many.
func (r *restored) metadata() string {
	b := fmt.Appendf(nil, "1 low=%d may=%d many=%d sum=", r.low, r.may, r.many)
	for i, s := range r.sums {
		one := strconv.FormatInt(s.from-r.low, 10) + "-" + strconv.FormatInt(s.to-r.low, 10)
		if len(b)+len(one)+1 > maxMetadata {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, one...)
	}
	return string(b)
}

// parsePlace reads what metadata wrote. From a text that it does not know it reads the log from its start: what is open is then seen again, and
// taken for delivered.
func parsePlace(commit int64, text string) restored {
	r := restored{commit: max(commit, 0)}
	fields := strings.Fields(text)
	if commit < 0 || len(fields) == 0 || fields[0] != "1" {
		return r
	}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "low":
			r.low = bounded(value, r.commit)
		case "may":
			r.may = bounded(value, 1<<62)
		case "many":
			r.many = int(bounded(value, 1<<31))
		case "sum":
			for one := range strings.SplitSeq(value, ",") {
				from, to, ok := strings.Cut(one, "-")
				if a, b := bounded(from, 1<<62), bounded(to, 1<<62); ok && a <= b {
					r.sums = append(r.sums, span{r.low + a, r.low + b})
				}
			}
		}
	}
	return r
}

func bounded(s string, most int64) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return max(0, min(n, most))
}

// place is what there is to commit now.
func (b *book) place() restored {
	r := restored{commit: b.next, may: b.may, many: b.sum.open}
	for _, e := range b.entries {
		if e.since >= 0 {
			r.commit = min(r.commit, e.since)
		}
	}
	r.low = r.commit
	var known []*entry // of whom the next owner has to be told how they are known
	for _, e := range b.entries {
		if e.over.IsZero() && (e.open() || e.since >= 0) {
			r.low = min(r.low, e.first)
			known = append(known, e)
		}
	}
	slices.SortFunc(known, func(a, b *entry) int { return cmp.Compare(a.first, b.first) })
	for i := 0; i < len(known); i++ {
		if known[i].told != summed {
			continue
		}
		from := known[i].first
		for i+1 < len(known) && known[i+1].told == summed {
			i++
		}
		r.sums = append(r.sums, span{from, known[i].first})
	}
	return r
}
