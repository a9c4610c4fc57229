package api

import (
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

func groupOperations() []operation {
	return []operation{
		on(operation{method: "GET", path: "/api/v1/groups", id: "groups", least: Viewer, about: "Every reporting group"}, (*API).groups),
		on(operation{method: "PUT", path: "/api/v1/groups/{group}", id: "defineGroup", least: Operator,
			about: "Give a name to the devices that a selector selects, for reports; no rollout looks at it"}, (*API).defineGroup),
		on(operation{method: "POST", path: "/api/v1/groups/{group}/remove", id: "removeGroup", least: Operator, about: "Take the name back"}, (*API).removeGroup),
		on(operation{method: "GET", path: "/api/v1/regions", id: "regions", least: Viewer, about: "Every region"}, (*API).regions),
		on(operation{method: "PUT", path: "/api/v1/regions/{region}", id: "defineRegion", least: Admin, about: "Name the gateway that takes a region's devices"}, (*API).defineRegion),
	}
}

func (a *API) groups(c *call, _ *nothing) (v1.Groups, error) {
	out := v1.Groups{Groups: []v1.Group{}}
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, g := range s.Groups() {
			out.Groups = append(out.Groups, v1.Group{Group: g.Name, Selector: g.Selector.String()})
		}
		return nil
	})
	return out, err
}

func (a *API) defineGroup(c *call, body *v1.GroupDefinition) (out v1.Group, err error) {
	if _, err := a.tell(c, decide.DefineGroup{Group: c.PathValue("group"), Selector: body.Selector}); err != nil {
		return out, err
	}
	err = a.see(c.Context(), func(s *decide.State) error {
		g, _ := s.Group(c.PathValue("group"))
		out = v1.Group{Group: g.Name, Selector: g.Selector.String()}
		return nil
	})
	return out, err
}

func (a *API) removeGroup(c *call, _ *v1.Change) (v1.Groups, error) {
	if _, err := a.tell(c, decide.RemoveGroup{Group: c.PathValue("group")}); err != nil {
		return v1.Groups{}, err
	}
	return a.groups(c, nil)
}

func (a *API) regions(c *call, _ *nothing) (v1.Regions, error) {
	out := v1.Regions{Regions: []v1.Region{}}
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, r := range s.Regions() {
			out.Regions = append(out.Regions, v1.Region{Region: r.Name, Gateway: r.Gateway})
		}
		return nil
	})
	return out, err
}

func (a *API) defineRegion(c *call, body *v1.RegionDefinition) (v1.Region, error) {
	out := v1.Region{Region: c.PathValue("region"), Gateway: body.Gateway}
	_, err := a.tell(c, decide.DefineRegion{Region: out.Region, Gateway: out.Gateway})
	return out, err
}
