package event

import (
	"slices"
	"strconv"

	"muster.dev/proto/batch"
)

// TypeVerdict is the ce_type of what the detector says of a rollout's stage.
const TypeVerdict = "muster.rollout.verdict.v1"

// What a verdict can be.
const (
	VerdictPass         = "pass"
	VerdictFail         = "fail"
	VerdictInconclusive = "inconclusive"
	VerdictHold         = "hold" // more is wrong than chance, and not yet enough to fail
)

// Verdict is a record of muster.incidents.v1: how a stage of a rollout does. Its key is the rollout. A number in micro
// is times 1e6. All times are Unix ms of event time.
type Verdict struct {
	N             uint64 `msgpack:"n"` // counted with the incidents' records
	Rollout       string `msgpack:"rollout"`
	Stage         uint8  `msgpack:"stage"`
	Verdict       string `msgpack:"verdict"`
	At            int64  `msgpack:"at"`
	Final         bool   `msgpack:"final"`  // there is one of each stage, and it is the last
	Effect        int64  `msgpack:"effect"` // micro: odds ratio, and the interval around it
	Low           int64  `msgpack:"low"`
	High          int64  `msgpack:"high"`
	EFail         int64  `msgpack:"e_fail"` // micro: log10 of the e-values
	EPass         int64  `msgpack:"e_pass"`
	EAbsolute     int64  `msgpack:"e_absolute"`
	EInstall      int64  `msgpack:"e_install"`
	Treated       uint32 `msgpack:"treated"`
	Control       uint32 `msgpack:"control"`
	FailedTreated uint32 `msgpack:"failed_treated"`
	FailedControl uint32 `msgpack:"failed_control"`
	ExposureMS    int64  `msgpack:"exposure_ms"` // of treated devices, together
	// The same of all that were drawn for the stage, whether they began the update or not. These and the next three are
	// left out where they are 0: records of before they were told have the bytes that they had.
	EDrawn             int64  `msgpack:"e_drawn,omitempty"`
	DrawnTreated       uint32 `msgpack:"drawn_treated,omitempty"`
	DrawnControl       uint32 `msgpack:"drawn_control,omitempty"`
	DrawnFailedTreated uint32 `msgpack:"drawn_failed_treated,omitempty"`
	DrawnFailedControl uint32 `msgpack:"drawn_failed_control,omitempty"`
	// Of the health metrics, and how many devices or whole sites were held against each other by them: nobody is before the
	// stage ends.
	EHealth         int64         `msgpack:"e_health,omitempty"`
	ComparedTreated uint32        `msgpack:"compared_treated,omitempty"`
	ComparedControl uint32        `msgpack:"compared_control,omitempty"`
	Kinds           []KindCount   `msgpack:"kinds"`    // in order of kind
	Smallest        int64         `msgpack:"smallest"` // micro: the smallest odds ratio that would have been seen
	Devices         []Member      `msgpack:"devices"`  // treated ones that failed
	Evidence        []Range       `msgpack:"evidence"`
	Design          RolloutDesign `msgpack:"design"`
	Incident        string        `msgpack:"incident"` // that a fail has opened; else empty
	Detector        string        `msgpack:"detector"`
	Why             string        `msgpack:"why"` // a sentence
}

// KindCount is how many devices failed in one way.
type KindCount struct {
	Kind    string `msgpack:"kind"`
	Treated uint32 `msgpack:"treated"`
	Control uint32 `msgpack:"control"`
}

// Type is the ce_type.
func (Verdict) Type() string { return TypeVerdict }

// writtenVerdict puts the version beside a verdict's own keys.
type writtenVerdict struct {
	V uint64 `msgpack:"v"`
	Verdict
}

// Encode gives a record's value and headers. It fails with what a reader would refuse.
func (v Verdict) Encode() (value []byte, headers []Header, err error) {
	v.normal()
	if err := v.validate(); err != nil {
		return nil, nil, err
	}
	return encodeFinding(v.Type(), v.N, v.At, writtenVerdict{Version, v})
}

// DecodeVerdict reads a record. A refusal is a *batch.Error; of a later version its code is UnknownVersion.
func DecodeVerdict(headers []Header, value []byte) (Verdict, error) {
	var in writtenVerdict
	if err := decodeFinding(headers, value, &in, &in.V, TypeVerdict); err != nil {
		return Verdict{}, err
	}
	v := in.Verdict
	v.normal()
	if err := v.validate(); err != nil {
		return Verdict{}, err
	}
	return v, nil
}

// normal makes what was left out and what was written as nothing the same.
func (v *Verdict) normal() {
	v.Kinds, v.Devices, v.Evidence = orNone(v.Kinds), orNone(v.Devices), orNone(v.Evidence)
}

func (v *Verdict) validate() *batch.Error {
	switch {
	case v.N == 0 || v.N > batch.MaxSeq:
		return refuse(batch.Unprocessable, "n", "must count from 1", batch.MaxSeq)
	case v.Stage == 0 || v.Stage > MaxStages:
		return refuse(batch.Unprocessable, "stage", "must count from 1", MaxStages)
	case !slices.Contains([]string{VerdictPass, VerdictFail, VerdictInconclusive, VerdictHold}, v.Verdict):
		return bad("verdict", strconv.Quote(v.Verdict[:min(len(v.Verdict), 64)])+" must be pass, fail, inconclusive or hold")
	case v.ExposureMS < 0:
		return bad("exposure_ms", "must not be negative")
	case len(v.Kinds) > MaxNumbers:
		return refuse(batch.Unprocessable, "kinds", "are too many", MaxNumbers)
	}
	for i, k := range v.Kinds {
		if err := checkName("kinds.kind", k.Kind); err != nil {
			return err
		}
		if i > 0 && k.Kind <= v.Kinds[i-1].Kind {
			return bad("kinds", "must be in order, each once")
		}
	}
	if v.Incident != "" {
		if err := checkIncident("incident", v.Incident); err != nil {
			return err
		}
	}
	if err := (instant{"at", v.At}).validate(); err != nil {
		return err
	}
	if err := checkFinding(v.Devices, v.Evidence, v.Detector); err != nil {
		return err
	}
	if err := checkText("why", v.Why); err != nil {
		return err
	}
	if err := v.Design.validate(); err != nil {
		return err
	}
	return checkName("rollout", v.Rollout)
}
