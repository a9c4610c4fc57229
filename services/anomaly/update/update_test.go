package update

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seeded(i uint64) *rand.Rand { return rand.New(rand.NewPCG(5, i)) }

// sameVerdict compares but for the order in which devices that failed in one tick are named.
func sameVerdict(a, b event.Verdict) bool {
	byID := func(x, y event.Member) int { return strings.Compare(x.ID, y.ID) }
	slices.SortFunc(a.Devices, byID)
	slices.SortFunc(b.Devices, byID)
	return reflect.DeepEqual(a, b)
}
