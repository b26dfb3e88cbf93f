package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// VirtualMachine stands in the library's registry in place of the library's own machine, which it holds by value: where
// the methods below do not take a call, the library does.
type VirtualMachine struct {
	simulator.VirtualMachine

	server  *Server
	busy    *Task                           // what is under way; a second task meets TaskInProgress
	kept    map[ref]*VirtualMachineSnapshot // the snapshots there are
	keys    map[string]int32                // of files in layoutEx, which stay the same
	deltas  int                             // names of delta disks so far
	taken   int32                           // ids of snapshots so far
	toolsOn bool                            // VMware Tools run when the machine does
}

// wrap puts our kind of machine in place of the library's.
func (s *Server) wrap(made ref) *VirtualMachine {
	plain, ok := simulator.Map.Get(made).(*simulator.VirtualMachine)
	if !ok {
		return nil
	}
	vm := &VirtualMachine{
		VirtualMachine: *plain,
		server:         s,
		kept:           map[ref]*VirtualMachineSnapshot{},
		keys:           map[string]int32{},
	}
	able := true
	vm.Capability = types.VirtualMachineCapability{
		SnapshotOperationsSupported:            true,
		MultipleSnapshotsSupported:             true,
		SnapshotConfigSupported:                true,
		PoweredOffSnapshotsSupported:           true,
		MemorySnapshotsSupported:               true,
		RevertToSnapshotSupported:              true,
		QuiescedSnapshotsSupported:             true,
		DiskOnlySnapshotOnSuspendedVMSupported: &able,
	}
	vm.Runtime.ConsolidationNeeded = new(bool)
	// Out and in again: the views would list it twice.
	simulator.Map.Remove(made)
	simulator.Map.Put(vm)
	vm.nameDisks()
	vm.relayout()
	return vm
}

// wrapNew does so with what clients made by the library's own calls.
func (s *Server) wrapNew() {
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if _, ok := entity.(*simulator.VirtualMachine); ok {
			s.wrap(entity.Reference())
		}
	}
}

func (vm *VirtualMachine) update(changes ...types.PropertyChange) {
	simulator.Map.Update(vm, changes)
}

// Power

func (vm *VirtualMachine) setPower(state types.VirtualMachinePowerState) {
	vm.update(
		types.PropertyChange{Name: "runtime.powerState", Val: state},
		types.PropertyChange{Name: "summary.runtime.powerState", Val: state},
	)
	vm.setTools(vm.toolsOn)
	vm.server.save()
}

// setTools says whether VMware Tools run in the guest, which they can only while the machine does.
func (vm *VirtualMachine) setTools(installed bool) {
	vm.toolsOn = installed
	status, version := types.VirtualMachineToolsStatusToolsNotInstalled, "guestToolsNotInstalled"
	running := "guestToolsNotRunning"
	if installed {
		status, version = types.VirtualMachineToolsStatusToolsNotRunning, "guestToolsCurrent"
		if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			status, running = types.VirtualMachineToolsStatusToolsOk, "guestToolsRunning"
		}
	}
	vm.update(
		types.PropertyChange{Name: "guest.toolsStatus", Val: status},
		types.PropertyChange{Name: "guest.toolsVersionStatus2", Val: version},
		types.PropertyChange{Name: "guest.toolsRunningStatus", Val: running},
	)
}

func (vm *VirtualMachine) power(method string, id string, wanted types.VirtualMachinePowerState) ref {
	return vm.server.begin(vm, method, id, func() (types.AnyType, types.BaseMethodFault) {
		if vm.Runtime.PowerState == wanted {
			return nil, &types.InvalidPowerState{RequestedState: wanted, ExistingState: vm.Runtime.PowerState}
		}
		if wanted == types.VirtualMachinePowerStateSuspended &&
			vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			return nil, &types.InvalidPowerState{
				RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
			}
		}
		vm.setPower(wanted)
		return nil, nil
	})
}

func (vm *VirtualMachine) PowerOnVMTask(*simulator.Context, *types.PowerOnVM_Task) soap.HasFault {
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{
		Returnval: vm.power("PowerOnVM_Task", "VirtualMachine.powerOn", types.VirtualMachinePowerStatePoweredOn),
	}}
}

func (vm *VirtualMachine) PowerOffVMTask(*simulator.Context, *types.PowerOffVM_Task) soap.HasFault {
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{
		Returnval: vm.power("PowerOffVM_Task", "VirtualMachine.powerOff", types.VirtualMachinePowerStatePoweredOff),
	}}
}

func (vm *VirtualMachine) SuspendVMTask(*simulator.Context, *types.SuspendVM_Task) soap.HasFault {
	return &methods.SuspendVM_TaskBody{Res: &types.SuspendVM_TaskResponse{
		Returnval: vm.power("SuspendVM_Task", "VirtualMachine.suspend", types.VirtualMachinePowerStateSuspended),
	}}
}

// ShutdownGuest asks the guest, which needs Tools to hear it and does so at once, unless a plan holds the call.
func (vm *VirtualMachine) ShutdownGuest(*simulator.Context, *types.ShutdownGuest) soap.HasFault {
	body := new(methods.ShutdownGuestBody)
	switch {
	case vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn:
		body.Fault_ = simulator.Fault(told(&types.InvalidPowerState{}), &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
		})
	case !vm.toolsOn:
		body.Fault_ = simulator.Fault(told(&types.ToolsUnavailable{}), &types.ToolsUnavailable{})
	default:
		if !vm.server.deafGuests[vm.Name] {
			vm.setPower(types.VirtualMachinePowerStatePoweredOff)
		}
		body.Res = new(types.ShutdownGuestResponse)
	}
	return body
}

// Questions

// ask puts a question to whoever administers the machine; its tasks wait for the answer.
func (vm *VirtualMachine) ask(text string) {
	vm.update(types.PropertyChange{Name: "runtime.question", Val: types.VirtualMachineQuestionInfo{
		Id:   "1",
		Text: text,
		Choice: types.ChoiceOption{ChoiceInfo: []types.BaseElementDescription{
			&types.ElementDescription{Description: types.Description{Label: "Retry", Summary: "Retry"}, Key: "0"},
			&types.ElementDescription{Description: types.Description{Label: "Cancel", Summary: "Cancel"}, Key: "1"},
		}},
	}})
}

// AnswerVM takes the question away and lets the task that waited go on.
func (vm *VirtualMachine) AnswerVM(request *types.AnswerVM) soap.HasFault {
	body := new(methods.AnswerVMBody)
	if vm.Runtime.Question == nil || vm.Runtime.Question.Id != request.QuestionId {
		body.Fault_ = simulator.Fault("There is no such question.", &types.InvalidArgument{InvalidProperty: "questionId"})
		return body
	}
	vm.update(types.PropertyChange{Name: "runtime.question", Val: nil})
	if vm.busy != nil && vm.busy.awaitsAnswer {
		vm.busy.finish()
	}
	body.Res = new(types.AnswerVMResponse)
	return body
}

// Reconfiguring and the end

// ReconfigVMTask lets the library do it, knows the size of a disk that is there already, and keeps what depends on disks.
func (vm *VirtualMachine) ReconfigVMTask(ctx *simulator.Context, request *types.ReconfigVM_Task) soap.HasFault {
	task := vm.server.begin(vm, "ReconfigVM_Task", "VirtualMachine.reconfigure", func() (types.AnyType, types.BaseMethodFault) {
		free := vm.server.freeSpace()
		if fault := vm.checkDisks(request.Spec.DeviceChange); fault != nil {
			return nil, fault
		}
		body := vm.VirtualMachine.ReconfigVMTask(ctx, request).(*methods.ReconfigVM_TaskBody)
		if fault := vm.server.takeOver(body.Res.Returnval); fault != nil {
			return nil, fault
		}
		vm.server.setFreeSpace(free)
		vm.nameDisks()
		vm.relayout()
		vm.update(types.PropertyChange{
			Name: "config.changeVersion", Val: time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z"),
		})
		vm.server.save()
		return nil, nil
	})
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: task}}
}

// DestroyTask is the library's, with our snapshots and what is under way.
func (vm *VirtualMachine) DestroyTask(ctx *simulator.Context, request *types.Destroy_Task) soap.HasFault {
	answer := vm.VirtualMachine.DestroyTask(ctx, request)
	if simulator.Map.Get(vm.Self) == nil {
		vm.gone()
	}
	return answer
}

// UnregisterVM likewise.
func (vm *VirtualMachine) UnregisterVM(ctx *simulator.Context, request *types.UnregisterVM) soap.HasFault {
	answer := vm.VirtualMachine.UnregisterVM(ctx, request)
	if answer.Fault() == nil {
		vm.gone()
	}
	return answer
}

func (vm *VirtualMachine) gone() {
	if vm.busy != nil {
		vm.busy.end(nil, &types.ManagedObjectNotFound{Obj: vm.Self})
	}
	for snapshot := range vm.kept {
		simulator.Map.Remove(snapshot)
	}
	vm.kept = map[ref]*VirtualMachineSnapshot{}
	vm.server.save()
}
