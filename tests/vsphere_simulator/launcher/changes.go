package main

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// What a waiting collector tells: the changes of the objects that its filters select.

func (c *PropertyCollector) updates(ctx *simulator.Context, everything bool) ([]types.PropertyFilterUpdate, types.BaseMethodFault) {
	world.Lock()
	defer world.Unlock()
	c.guard.Lock()
	dirty := c.dirty
	c.dirty = nil
	c.guard.Unlock()
	var found []types.PropertyFilterUpdate
	for _, reference := range c.Filter {
		filter, ok := ctx.Session.Get(reference).(*simulator.PropertyFilter)
		if !ok {
			continue
		}
		update := types.PropertyFilterUpdate{Filter: reference}
		var fault types.BaseMethodFault
		if update.ObjectSet, fault = c.filtered(ctx, filter, dirty, everything || c.known[reference] == nil); fault != nil {
			return nil, fault
		}
		if len(update.ObjectSet) > 0 {
			found = append(found, update)
		}
	}
	return found, nil
}

// filtered gives the changes of the objects that a filter selects.
func (c *PropertyCollector) filtered(
	ctx *simulator.Context, filter *simulator.PropertyFilter, dirty map[ref][]string, everything bool,
) ([]types.ObjectUpdate, types.BaseMethodFault) {
	known := c.known[filter.Self]
	if known == nil {
		known = map[ref]bool{}
		c.known[filter.Self] = known
	}
	var found []types.ObjectUpdate
	if everything || cameOrWent(dirty, filter.Spec) {
		selected, fault := c.read(ctx, filter.Spec)
		if fault != nil {
			return nil, fault
		}
		there := map[ref]bool{}
		for _, object := range selected {
			there[object.Obj] = true
			if !known[object.Obj] {
				known[object.Obj] = true
				found = append(found, update(object, types.ObjectUpdateKindEnter, func(string) bool { return true }))
				delete(dirty, object.Obj)
			}
		}
		for object := range known {
			if !there[object] {
				delete(known, object)
				found = append(found, types.ObjectUpdate{Kind: types.ObjectUpdateKindLeave, Obj: object})
			}
		}
	}
	for object, changes := range dirty {
		if !known[object] {
			continue
		}
		one := types.PropertyFilterSpec{PropSet: filter.Spec.PropSet, ObjectSet: []types.ObjectSpec{{Obj: object}}}
		read, fault := c.read(ctx, one)
		if fault != nil || len(read) == 0 {
			continue // it went meanwhile, and will be told of as gone
		}
		changed := update(read[0], types.ObjectUpdateKindModify, func(path string) bool { return touches(changes, path) })
		for _, path := range paths(filter.Spec, object) {
			if touches(changes, path) && !tells(changed, path) {
				changed.ChangeSet = append(changed.ChangeSet, types.PropertyChange{Name: path, Op: types.PropertyChangeOpAssign})
			}
		}
		if len(changed.ChangeSet) > 0 {
			found = append(found, changed)
		}
	}
	return found, nil
}

func (c *PropertyCollector) read(
	ctx *simulator.Context, spec types.PropertyFilterSpec,
) ([]types.ObjectContent, types.BaseMethodFault) {
	answer := c.PropertyCollector.RetrievePropertiesEx(ctx, &types.RetrievePropertiesEx{
		This: c.Self, SpecSet: []types.PropertyFilterSpec{spec},
	}).(*methods.RetrievePropertiesExBody)
	if fault := answer.Fault(); fault != nil {
		return nil, fault.VimFault().(types.BaseMethodFault)
	}
	return answer.Res.Returnval.Objects, nil
}

// cameOrWent tells whether something that the filter might select did: the selection is then made anew.
func cameOrWent(dirty map[ref][]string, spec types.PropertyFilterSpec) bool {
	for object, changes := range dirty {
		for _, change := range changes {
			// What selections walk along.
			if change == "childEntity" || change == "view" || change == "parent" {
				return true
			}
		}
		for _, set := range spec.PropSet {
			if contains(changes, "") && (set.Type == object.Type || set.Type == "ManagedEntity") {
				return true
			}
		}
	}
	return false
}

func update(object types.ObjectContent, kind types.ObjectUpdateKind, wanted func(string) bool) types.ObjectUpdate {
	made := types.ObjectUpdate{Kind: kind, Obj: object.Obj, MissingSet: object.MissingSet}
	for _, property := range object.PropSet {
		if wanted(property.Name) {
			made.ChangeSet = append(made.ChangeSet, types.PropertyChange{
				Name: property.Name, Op: types.PropertyChangeOpAssign, Val: property.Val,
			})
		}
	}
	return made
}

// touches: a change of "snapshot" is one of "snapshot.currentSnapshot" too, and the other way round.
func touches(changes []string, path string) bool {
	for _, change := range changes {
		if change == "" {
			continue
		}
		if change == path || strings.HasPrefix(change, path+".") || strings.HasPrefix(path, change+".") {
			return true
		}
	}
	return false
}

func paths(spec types.PropertyFilterSpec, object ref) []string {
	var found []string
	for _, set := range spec.PropSet {
		if set.Type == object.Type || set.Type == "ManagedEntity" {
			found = append(found, set.PathSet...)
		}
	}
	return found
}

func tells(changed types.ObjectUpdate, path string) bool {
	for _, change := range changed.ChangeSet {
		if change.Name == path {
			return true
		}
	}
	return false
}
