package projector

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/record"
)

const classType = "Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3)"

// fold makes rows of the log's records: a pure function of them, so that a table that is made anew has the same rows.
type fold struct {
	state    *roster.State
	gen      uint16  // of the registry's own topic; 0 until the log has told it
	enrolled []int64 // Unix ms by device number - 1
	first    uint64  // offsets of the rows that are gathered
	last     uint64

	no       *native.Fixed[uint32]
	device   *native.Text
	cohort   *native.Dictionary
	class    *native.Fixed[int8]
	profile  *native.Dictionary
	region   *native.Dictionary
	interval *native.Fixed[uint32]
	history  *native.Fixed[bool]
	revoked  *native.Fixed[bool]
	at       *native.Fixed[int64]
	topicGen *native.Fixed[uint16]
	part     *native.Fixed[uint16]
	off      *native.Fixed[uint64]
	block    *native.Block
}

func newFold() *fold {
	f := &fold{
		state: roster.NewState(),
		no:    native.UInt32("no"), device: native.String("device"), cohort: native.LowCardinality("cohort"),
		class: native.Enum8("class", classType), profile: native.LowCardinality("profile"), region: native.LowCardinality("region"),
		interval: native.UInt32("interval_ms"), history: native.Bool("history"), revoked: native.Bool("revoked"),
		at: native.DateTime64("enrolled_at"), topicGen: native.UInt16("topic_gen"), part: native.UInt16("part"), off: native.UInt64("off"),
	}
	f.block = native.NewBlock(f.no, f.device, f.cohort, f.class, f.profile, f.region, f.interval, f.history, f.revoked, f.at, f.topicGen, f.part, f.off)
	return f
}

func (f *fold) len() int { return f.block.Rows() }

// add folds a record in, and gathers its row if it is about a device and not below from, where the table has it.
func (f *fold) add(rec *kgo.Record, from uint64) {
	change, err := f.state.ApplyRecord(rec)
	if err != nil {
		return // ignored, as every reader ignores it; the writer and the rosters report it
	}
	if change.Topic.Name == record.TopicRegistry {
		f.gen = change.Topic.Gen
	}
	d := change.Device
	if d.No == 0 {
		return
	}
	if int(d.No) > len(f.enrolled) {
		f.enrolled = append(f.enrolled, rec.Timestamp.UnixMilli())
	}
	if uint64(rec.Offset) < from {
		return
	}
	if f.len() == 0 {
		f.first = uint64(rec.Offset)
	}
	f.last = uint64(rec.Offset)
	profile, _ := f.state.ProfileAt(d.Profile, f.state.Rev())
	f.no.Append(d.No)
	f.device.AppendString(string(d.ID))
	f.cohort.AppendString(d.Cohort)
	f.class.Append(int8(d.Class))
	f.profile.AppendString(profile.Name)
	f.region.AppendString(d.Region)
	f.interval.Append(uint32(min(d.Interval.Milliseconds(), 1<<32-1)))
	f.history.Append(d.History)
	f.revoked.Append(d.Revoked)
	f.at.Append(f.enrolled[d.No-1])
	f.topicGen.Append(f.gen)
	f.part.Append(0)
	f.off.Append(uint64(rec.Offset))
}
