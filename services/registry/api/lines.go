package api

import (
	"time"

	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func lineOperations() []operation {
	return []operation{
		on(operation{method: "GET", path: "/api/v1/lines", id: "lines", least: Viewer, about: "Every product line"}, (*API).lines),
		on(operation{method: "PUT", path: "/api/v1/lines/{label}", id: "defineLine", least: Admin,
			about: "Say what devices become that enrol themselves under a label; those that are enrolled stay what they are"}, (*API).defineLine),
	}
}

func (a *API) lines(c *call, _ *nothing) (v1.Lines, error) {
	out := v1.Lines{Lines: []v1.Line{}}
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, l := range s.Lines() {
			out.Lines = append(out.Lines, shapeLine(l))
		}
		return nil
	})
	return out, err
}

func (a *API) defineLine(c *call, body *v1.LineDefinition) (out v1.Line, err error) {
	class, err := decide.ParseClass(body.Class)
	if err != nil {
		return out, err
	}
	label := c.PathValue("label")
	if _, err := a.tell(c, decide.DefineLine{
		Label: label, Profile: body.Profile, Cohort: body.Cohort, Class: class, History: body.History,
		Interval: time.Duration(body.IntervalMS) * time.Millisecond, Region: body.Region,
	}); err != nil {
		return out, err
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		l, _ := s.Line(label)
		out = shapeLine(l)
		return nil
	})
	return out, err
}

func shapeLine(l decide.Line) v1.Line {
	return v1.Line{
		Label: l.Label, Profile: l.Profile, Cohort: l.Cohort, Class: decide.ClassName(l.Class), History: l.History,
		IntervalMS: l.Interval.Milliseconds(), Region: l.Region,
	}
}
