package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// How many finished tasks a machine goes on listing in recentTask.
const recentTasks = 5

// Task is work on a machine. Its name is part of the protocol: the library makes references out of it. Unlike the
// library's, it can be held under way, cancelled, forgotten, and last.
type Task struct {
	simulator.Task

	vm           *VirtualMachine
	work         func() (types.AnyType, types.BaseMethodFault)
	failure      types.BaseMethodFault // what it ends with in place of its work
	message      string
	awaitsAnswer bool
	held         bool
}

// begin registers a task and, unless something holds it, carries it out before it returns.
func (s *Server) begin(
	vm *VirtualMachine, method string, id string, work func() (types.AnyType, types.BaseMethodFault),
) ref {
	t := &Task{vm: vm, work: work}
	simulator.Map.Put(t)
	now := time.Now().UTC()
	t.Info = types.TaskInfo{
		Key: t.Self.Value, Task: t.Self, Name: method, DescriptionId: id,
		Entity: &vm.Self, EntityName: vm.Name, Locked: []ref{vm.Self},
		State: types.TaskInfoStateRunning, QueueTime: now, StartTime: &now,
		Reason: &types.TaskReasonUser{UserName: s.settings.Username},
	}
	vm.update(types.PropertyChange{Name: "recentTask", Val: recent(append(append([]ref{}, vm.RecentTask...), t.Self))})
	if vm.busy != nil {
		t.end(nil, &types.TaskInProgress{Task: vm.busy.Self})
		return t.Self
	}
	plan := s.planFor(method, vm, false)
	if plan != nil && plan.Fault != "" {
		t.failure, t.message = plan.fault(vm), plan.Message
	}
	switch {
	case plan != nil && plan.Hold:
		t.hold(!plan.Stubborn)
	case vm.Runtime.Question != nil:
		t.awaitsAnswer = true
		t.hold(false)
	case s.settings.TaskSeconds > 0 && s.recalled:
		t.hold(method == "CreateSnapshot_Task")
		go t.takeTime(time.Duration(s.settings.TaskSeconds * float64(time.Second)))
	default:
		t.finish()
	}
	return t.Self
}

func recent(tasks []ref) []ref {
	if len(tasks) > recentTasks {
		tasks = tasks[len(tasks)-recentTasks:]
	}
	return tasks
}

func (t *Task) hold(cancelable bool) {
	t.vm.busy, t.held = t, true
	t.Info.Cancelable = cancelable
	t.vm.server.arrived.Broadcast()
}

// takeTime lets progress grow and then finishes, in steps of a twentieth.
func (t *Task) takeTime(whole time.Duration) {
	const steps = 20
	step := time.NewTicker(whole / steps)
	defer step.Stop()
	for done := 1; done <= steps; done++ {
		<-step.C
		if !t.vm.server.with(func() bool {
			if t.over() {
				return false
			}
			t.progress(int32(100 * done / steps))
			if done == steps {
				t.finish()
			}
			return true
		}) {
			return
		}
	}
}

func (t *Task) over() bool {
	return t.Info.State == types.TaskInfoStateSuccess || t.Info.State == types.TaskInfoStateError
}

func (t *Task) progress(percent int32) {
	simulator.Map.Update(t, []types.PropertyChange{{Name: "info.progress", Val: percent}})
}

// finish does the work and ends.
func (t *Task) finish() {
	if t.failure != nil {
		t.end(nil, t.failure)
		return
	}
	t.end(t.work())
}

func (t *Task) end(result types.AnyType, fault types.BaseMethodFault) {
	t.held = false
	if t.vm.busy == t {
		t.vm.busy = nil
	}
	now := time.Now().UTC()
	changes := []types.PropertyChange{
		{Name: "info.completeTime", Val: &now},
		{Name: "info.cancelable", Val: false},
		{Name: "info.result", Val: result},
	}
	if fault == nil {
		changes = append(changes, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
	} else {
		message := t.message
		if message == "" {
			message = told(fault)
		}
		changes = append(changes,
			types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{Fault: fault, LocalizedMessage: message}},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
	}
	simulator.Map.Update(t, changes)
	t.vm.server.arrived.Broadcast()
}

// forget makes the server know nothing of the task any more.
func (t *Task) forget() {
	if t.vm.busy == t {
		t.vm.busy = nil
	}
	t.held = false
	for _, entity := range []mo.Reference{t.vm, simulator.Map.Get(*t.vm.server.model.ServiceContent.TaskManager)} {
		dropRecent(entity, t.Self)
	}
	simulator.Map.Remove(t.Self)
}

func dropRecent(owner mo.Reference, task ref) {
	var listed []ref
	switch kind := owner.(type) {
	case *VirtualMachine:
		listed = kind.RecentTask
	case *simulator.TaskManager:
		listed = kind.RecentTask
	}
	var left []ref
	for _, each := range listed {
		if each != task {
			left = append(left, each)
		}
	}
	simulator.Map.Update(owner, []types.PropertyChange{{Name: "recentTask", Val: left}})
}

// CancelTask ends a task that is under way and can be cancelled.
func (t *Task) CancelTask(*types.CancelTask) soap.HasFault {
	body := new(methods.CancelTaskBody)
	switch {
	case t.over():
		body.Fault_ = simulator.Fault("The task has ended.", new(types.InvalidState))
	case !t.Info.Cancelable:
		body.Fault_ = simulator.Fault("The task cannot be cancelled.", new(types.NotSupported))
	default:
		simulator.Map.Update(t, []types.PropertyChange{{Name: "info.cancelled", Val: true}})
		t.message = ""
		t.end(nil, new(types.RequestCanceled))
		body.Res = new(types.CancelTaskResponse)
	}
	return body
}

// takeOver hides a task of the library's, which has ended already, and gives the fault it ended with.
func (s *Server) takeOver(task ref) types.BaseMethodFault {
	plain := simulator.Map.Get(task).(*simulator.Task)
	dropRecent(simulator.Map.Get(*s.model.ServiceContent.TaskManager), task)
	simulator.Map.Remove(task)
	if plain.Info.Error == nil {
		return nil
	}
	return plain.Info.Error.Fault
}
