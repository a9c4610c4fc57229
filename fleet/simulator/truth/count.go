package truth

import "encoding/json"

// Count is what a cohort's devices had to say and said in a day, telemetry only. A message is counted on the day on which
// what is counted happened: made on one day, it may arrive on the next.
type Count struct {
	Due     int64 `json:"due"`     // messages that the enrolled devices would make at their interval, outside planned sleep; a cost spike makes more
	Made    int64 `json:"made"`    // messages that devices made
	Arrived int64 `json:"arrived"` // of these, the first time that one got to the gateway
	Lost    int64 `json:"lost"`    // of these, those that never will
	Late    int64 `json:"late"`    // of the arrived, those that lay in a device's store
	Copies  int64 `json:"copies"`  // arrivals of a message that had arrived
	Cloned  int64 `json:"cloned"`  // arrivals under the identity of a device that were not its own
	Refused int64 `json:"refused"` // arrivals from devices whose identity is revoked
	Values  int64 `json:"values"`  // in the arrived
	Bytes   int64 `json:"bytes"`   // of the arrived
}

// Add sums.
func (c *Count) Add(o Count) {
	c.Due += o.Due
	c.Made += o.Made
	c.Arrived += o.Arrived
	c.Lost += o.Lost
	c.Late += o.Late
	c.Copies += o.Copies
	c.Cloned += o.Cloned
	c.Refused += o.Refused
	c.Values += o.Values
	c.Bytes += o.Bytes
}

// Detail is the count as a line's detail.
func (c Count) Detail() map[string]any {
	return map[string]any{"due": c.Due, "made": c.Made, "arrived": c.Arrived, "lost": c.Lost, "late": c.Late,
		"copies": c.Copies, "cloned": c.Cloned, "refused": c.Refused, "values": c.Values, "bytes": c.Bytes}
}

// CountOf reads what Detail gave, from a line of kind Expected.
func CountOf(l Line) (c Count, err error) {
	raw, err := json.Marshal(l.Detail)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	return c, err
}
