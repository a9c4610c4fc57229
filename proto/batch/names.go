package batch

import "hash/maphash"

// nameOK holds a metric's name to [a-z_][a-z0-9_]{0,62}: it becomes a column's identifier in the store.
func nameOK(s []byte) bool {
	if len(s) == 0 || len(s) > MaxMetricName || nameByte[s[0]] != 1 {
		return false
	}
	for _, c := range s[1:] {
		if nameByte[c] == 0 {
			return false
		}
	}
	return true
}

// MetricName reports whether a metric may have this name.
func MetricName(s string) bool { return nameOK(bytesOf(s)) }

// nameByte: 1 = anywhere, 2 = not first.
var nameByte = func() (t [256]uint8) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] = 1
	}
	t['_'] = 1
	for c := '0'; c <= '9'; c++ {
		t[c] = 2
	}
	return t
}()

// nameTable is a set of at most MaxColumns names, which stay where they are. The seed is of this process: who sends
// the names cannot make them collide.
type nameTable struct {
	slots [2 * MaxColumns]uint16 // index + 1
}

var nameSeed = maphash.MakeSeed()

func (t *nameTable) reset() { clear(t.slots[:]) }

// find gives the index of name, or puts next there and gives next.
func (t *nameTable) find(name []byte, next int, at func(int) []byte) int {
	const mask = 2*MaxColumns - 1
	for h := maphash.Bytes(nameSeed, name) & mask; ; h = (h + 1) & mask {
		i := int(t.slots[h])
		if i == 0 {
			t.slots[h] = uint16(next + 1)
			return next
		}
		if string(at(i-1)) == string(name) {
			return i - 1
		}
	}
}
