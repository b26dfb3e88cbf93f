package main

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// How many objects one answer holds at most, whatever the client asks for: a real server has such a limit too.
const largestPage = 1000

// PropertyCollector stands in place of the library's. Reading is the library's own work; waiting for changes is ours, for
// the library's collects everything anew on each change of anything, wakes four times a second, loses what happens between
// the first answer and the next question, and passes over a property that is unset with its parent. Pages are ours too:
// the library gives everything at once.
type PropertyCollector struct {
	simulator.PropertyCollector

	guard     sync.Mutex
	dirty     map[ref][]string // changed properties; the name "" for an object that came or went
	wake      chan struct{}
	cancelled chan struct{}
	ear       *listener
	version   int
	known     map[ref]map[ref]bool // what each filter has told of

	pages   map[string][]types.ObjectContent
	counter int
}

func (s *Server) watchCollector() {
	reference := simulator.Map.Get(root).(*simulator.ServiceInstance).Content.PropertyCollector
	collector := &PropertyCollector{}
	collector.Self = reference
	simulator.Map.Put(collector)
	world = &s.world
}

// The library makes a session's copies of the collector by itself, empty: they cannot hold a reference to the server.
var world *sync.Mutex

// CreatePropertyCollector gives a client one of its own.
func (c *PropertyCollector) CreatePropertyCollector(
	ctx *simulator.Context, _ *types.CreatePropertyCollector,
) soap.HasFault {
	return &methods.CreatePropertyCollectorBody{Res: &types.CreatePropertyCollectorResponse{
		Returnval: ctx.Session.Put(&PropertyCollector{}).Reference(),
	}}
}

// DestroyPropertyCollector lets go of it.
func (c *PropertyCollector) DestroyPropertyCollector(
	ctx *simulator.Context, request *types.DestroyPropertyCollector,
) soap.HasFault {
	c.cancel()
	c.deafen()
	return c.PropertyCollector.DestroyPropertyCollector(ctx, request)
}

// listener is told by the registry what happens. The collectors themselves would not do: all sessions' copies of the
// first one have the same reference, and the registry keeps one handler for each.
type listener struct {
	collector *PropertyCollector
	session   string
}

var listeners []*listener

func (l *listener) Reference() ref {
	return ref{Type: "Listener", Value: fmt.Sprintf("%p", l)}
}

func (l *listener) PutObject(object mo.Reference) { l.RemoveObject(object.Reference()) }

func (l *listener) RemoveObject(object ref) { l.collector.note(object, []types.PropertyChange{{}}) }

func (l *listener) UpdateObject(object mo.Reference, changes []types.PropertyChange) {
	l.collector.note(object.Reference(), changes)
}

// endListeners lets go of those whose session has ended, and of the calls that wait in it.
func endListeners() {
	alive := map[string]bool{}
	for _, session := range sessions() {
		alive[session.Key] = true
	}
	for _, each := range append([]*listener{}, listeners...) {
		if !alive[each.session] {
			each.collector.cancel()
			each.collector.deafen()
		}
	}
}

func (c *PropertyCollector) deafen() {
	if c.ear == nil {
		return
	}
	simulator.Map.RemoveHandler(c.ear)
	var left []*listener
	for _, each := range listeners {
		if each != c.ear {
			left = append(left, each)
		}
	}
	listeners, c.ear = left, nil
}

func (c *PropertyCollector) note(object ref, changes []types.PropertyChange) {
	c.guard.Lock()
	defer c.guard.Unlock()
	if c.dirty == nil {
		c.dirty = map[ref][]string{}
	}
	noted := c.dirty[object]
	for _, change := range changes {
		if !contains(noted, change.Name) {
			noted = append(noted, change.Name)
		}
	}
	c.dirty[object] = noted
	select {
	case c.waking() <- struct{}{}:
	default: // it has been woken already
	}
}

// waking gives the channel by which a waiting call is woken; the guard is held.
func (c *PropertyCollector) waking() chan struct{} {
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	return c.wake
}

// CancelWaitForUpdates ends a waiting call with RequestCanceled.
func (c *PropertyCollector) CancelWaitForUpdates(*types.CancelWaitForUpdates) soap.HasFault {
	c.cancel()
	return &methods.CancelWaitForUpdatesBody{Res: new(types.CancelWaitForUpdatesResponse)}
}

func (c *PropertyCollector) cancel() {
	c.guard.Lock()
	defer c.guard.Unlock()
	if c.cancelled != nil {
		close(c.cancelled)
		c.cancelled = nil
	}
}

// WaitForUpdatesEx tells what changed since the version, at once where something did, or waits for it. Without a limit in
// the request it waits for ever, as a real server does, until the client cancels or its session ends.
func (c *PropertyCollector) WaitForUpdatesEx(ctx *simulator.Context, request *types.WaitForUpdatesEx) soap.HasFault {
	body := new(methods.WaitForUpdatesExBody)
	cancelled, fault := c.listen(ctx, request.Version)
	if fault != nil {
		body.Fault_ = simulator.Fault(told(fault), fault)
		return body
	}
	var late <-chan time.Time
	if request.Options != nil && request.Options.MaxWaitSeconds != nil {
		timer := time.NewTimer(time.Duration(*request.Options.MaxWaitSeconds) * time.Second)
		defer timer.Stop()
		late = timer.C
	}
	for {
		found, fault := c.updates(ctx, request.Version == "")
		switch {
		case fault != nil:
			body.Fault_ = simulator.Fault(told(fault), fault)
			return body
		case len(found) > 0 || request.Version == "":
			c.version++
			body.Res = &types.WaitForUpdatesExResponse{
				Returnval: &types.UpdateSet{Version: strconv.Itoa(c.version), FilterSet: found},
			}
			return body
		}
		select {
		case <-c.wake:
		case <-cancelled:
			if fault = c.loggedOut(ctx); fault == nil {
				fault = new(types.RequestCanceled)
			}
			body.Fault_ = simulator.Fault(told(fault), fault)
			return body
		case <-late:
			body.Res = new(types.WaitForUpdatesExResponse)
			return body
		}
	}
}

// listen begins a waiting call: from here on changes wake it, and a cancellation or the end of its session ends it.
func (c *PropertyCollector) listen(ctx *simulator.Context, version string) (<-chan struct{}, types.BaseMethodFault) {
	world.Lock()
	defer world.Unlock()
	c.guard.Lock()
	defer c.guard.Unlock()
	if fault := c.loggedOut(ctx); fault != nil { // since the call was let in
		return nil, fault
	}
	if version == "" {
		c.known, c.dirty = map[ref]map[ref]bool{}, nil
	} else if version != strconv.Itoa(c.version) || c.known == nil {
		return nil, new(types.InvalidCollectorVersion)
	}
	if c.ear == nil {
		c.ear = &listener{collector: c, session: ctx.Session.Key}
		simulator.Map.AddHandler(c.ear)
		listeners = append(listeners, c.ear)
	}
	c.waking()
	c.cancelled = make(chan struct{})
	return c.cancelled, nil
}

func (c *PropertyCollector) loggedOut(ctx *simulator.Context) types.BaseMethodFault {
	if loggedIn(ctx.Session.Key) {
		return nil
	}
	return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: c.Self, PrivilegeId: "System.View"}}
}

// WaitForUpdates is the older form.
func (c *PropertyCollector) WaitForUpdates(ctx *simulator.Context, request *types.WaitForUpdates) soap.HasFault {
	answer := c.WaitForUpdatesEx(ctx, &types.WaitForUpdatesEx{This: request.This, Version: request.Version}).(*methods.WaitForUpdatesExBody)
	body := &methods.WaitForUpdatesBody{Fault_: answer.Fault_}
	if answer.Res != nil {
		body.Res = &types.WaitForUpdatesResponse{Returnval: *answer.Res.Returnval}
	}
	return body
}
