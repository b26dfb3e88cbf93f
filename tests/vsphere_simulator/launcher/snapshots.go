package main

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// As many snapshots as vSphere allows in a row.
const deepest = 32

// VirtualMachineSnapshot stands in the registry in place of the library's own. Beside what is on the wire it keeps the
// disks as they were.
type VirtualMachineSnapshot struct {
	simulator.VirtualMachineSnapshot

	vm      *VirtualMachine
	devices []types.BaseVirtualDevice
	memory  bool
	power   types.VirtualMachinePowerState // what a revert leads to
}

func (vm *VirtualMachine) trees() forest {
	if vm.Snapshot == nil {
		return nil
	}
	return vm.Snapshot.RootSnapshotList
}

func (vm *VirtualMachine) current() *ref {
	if vm.Snapshot == nil {
		return nil
	}
	return vm.Snapshot.CurrentSnapshot
}

// setForest writes both halves at once; without a snapshot the property is unset.
func (vm *VirtualMachine) setForest(trees forest, current *ref) {
	var now types.AnyType
	if len(trees) > 0 {
		now = types.VirtualMachineSnapshotInfo{RootSnapshotList: trees, CurrentSnapshot: current}
	}
	vm.update(types.PropertyChange{Name: "snapshot", Val: now})
	vm.relayout()
	vm.server.save()
}

// CreateSnapshotTask takes a snapshot below the current one.
func (vm *VirtualMachine) CreateSnapshotTask(request *types.CreateSnapshot_Task) soap.HasFault {
	task := vm.server.begin(vm, "CreateSnapshot_Task", "VirtualMachine.createSnapshot", func() (types.AnyType, types.BaseMethodFault) {
		on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
		memory := request.Memory && on
		if memory && vm.hasIndependentDisk() {
			return nil, new(types.MemorySnapshotOnIndependentDisk)
		}
		if current := vm.current(); current != nil && depthOf(vm.trees(), *current) >= deepest {
			return nil, new(types.TooManySnapshotLevels)
		}
		// What a revert leads to: a machine that ran and was kept without its memory is off.
		state := vm.Runtime.PowerState
		if on && !memory {
			state = types.VirtualMachinePowerStatePoweredOff
		}
		made := node{
			Name:        request.Name,
			Description: request.Description,
			CreateTime:  time.Now().UTC(),
			State:       state,
			Quiesced:    request.Quiesce && on && vm.toolsOn && !memory,
		}
		vm.server.snapshots++
		made.Snapshot = ref{Type: "VirtualMachineSnapshot", Value: fmt.Sprintf("snapshot-%d", vm.server.snapshots)}
		vm.grow(made, memory)
		return made.Snapshot, nil
	})
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: task}}
}

// grow adds a snapshot that has its reference, name, time and state to the place where the machine stands.
func (vm *VirtualMachine) grow(made node, memory bool) {
	snapshot := &VirtualMachineSnapshot{vm: vm, memory: memory, power: made.State, devices: copied(vm.Config.Hardware.Device)}
	snapshot.Self = made.Snapshot
	snapshot.Vm = vm.Self
	snapshot.Config = *vm.Config
	vm.kept[made.Snapshot] = snapshot
	simulator.Map.Put(snapshot)
	vm.taken++
	made.Vm, made.Id, made.ReplaySupported = vm.Self, vm.taken, new(bool)
	vm.branchDisks(vm.Config.Hardware.Device)
	vm.setForest(grown(vm.trees(), vm.current(), made), &made.Snapshot)
}

// standAt puts the machine's disks back to a snapshot, which becomes the current one.
func (vm *VirtualMachine) standAt(snapshot *VirtualMachineSnapshot) {
	vm.branchDisks(snapshot.devices)
	at := snapshot.Self
	vm.setForest(vm.trees(), &at)
}

// revert does so and leads to the snapshot's power state.
func (vm *VirtualMachine) revert(to ref, keepOff bool) types.BaseMethodFault {
	snapshot := vm.kept[to]
	if snapshot == nil {
		return &types.ManagedObjectNotFound{Obj: to}
	}
	vm.standAt(snapshot)
	state := snapshot.power
	if keepOff && state == types.VirtualMachinePowerStatePoweredOn {
		state = types.VirtualMachinePowerStatePoweredOff
	}
	if vm.Runtime.PowerState != state {
		vm.setPower(state)
	}
	return nil
}

// RevertToSnapshotTask reverts to this snapshot.
func (s *VirtualMachineSnapshot) RevertToSnapshotTask(request *types.RevertToSnapshot_Task) soap.HasFault {
	keepOff := request.SuppressPowerOn != nil && *request.SuppressPowerOn
	task := s.vm.server.begin(s.vm, "RevertToSnapshot_Task", "vm.Snapshot.revert",
		func() (types.AnyType, types.BaseMethodFault) { return nil, s.vm.revert(s.Self, keepOff) })
	return &methods.RevertToSnapshot_TaskBody{Res: &types.RevertToSnapshot_TaskResponse{Returnval: task}}
}

// RevertToCurrentSnapshotTask reverts to the current one.
func (vm *VirtualMachine) RevertToCurrentSnapshotTask(request *types.RevertToCurrentSnapshot_Task) soap.HasFault {
	body := new(methods.RevertToCurrentSnapshot_TaskBody)
	current := vm.current()
	if current == nil {
		body.Fault_ = simulator.Fault(told(&types.NotFound{}), &types.NotFound{})
		return body
	}
	to, keepOff := *current, request.SuppressPowerOn != nil && *request.SuppressPowerOn
	body.Res = &types.RevertToCurrentSnapshot_TaskResponse{Returnval: vm.server.begin(vm,
		"RevertToCurrentSnapshot_Task", "VirtualMachine.revertToCurrentSnapshot",
		func() (types.AnyType, types.BaseMethodFault) { return nil, vm.revert(to, keepOff) })}
	return body
}

// RemoveSnapshotTask removes this snapshot, and what is below it where that is asked; the machine goes on as it is.
func (s *VirtualMachineSnapshot) RemoveSnapshotTask(request *types.RemoveSnapshot_Task) soap.HasFault {
	vm := s.vm
	task := vm.server.begin(vm, "RemoveSnapshot_Task", "vm.Snapshot.remove", func() (types.AnyType, types.BaseMethodFault) {
		if vm.kept[s.Self] == nil {
			return nil, &types.ManagedObjectNotFound{Obj: s.Self}
		}
		vm.remove(s.Self, request.RemoveChildren)
		return nil, nil
	})
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task}}
}

func (vm *VirtualMachine) remove(wanted ref, withChildren bool) {
	trees, current := vm.trees(), vm.current()
	going := []ref{wanted}
	if withChildren {
		going = all(forest{*seek(trees, wanted)})
	}
	for _, each := range going {
		if current != nil && *current == each {
			current = parentOf(trees, wanted)
			break
		}
	}
	left := changed(trees, wanted, func(old node) forest {
		if withChildren {
			return nil
		}
		return old.ChildSnapshotList
	})
	for i := len(going) - 1; i >= 0; i-- {
		vm.mergeDisks(vm.kept[going[i]])
		delete(vm.kept, going[i])
		simulator.Map.Remove(going[i])
	}
	vm.setForest(left, current)
}

// RemoveAllSnapshotsTask removes them all.
func (vm *VirtualMachine) RemoveAllSnapshotsTask(*simulator.Context, *types.RemoveAllSnapshots_Task) soap.HasFault {
	task := vm.server.begin(vm, "RemoveAllSnapshots_Task", "VirtualMachine.removeAllSnapshots",
		func() (types.AnyType, types.BaseMethodFault) {
			for len(vm.trees()) > 0 {
				vm.remove(vm.trees()[0].Snapshot, true)
			}
			return nil, nil
		})
	return &methods.RemoveAllSnapshots_TaskBody{Res: &types.RemoveAllSnapshots_TaskResponse{Returnval: task}}
}

// RenameSnapshot is no task.
func (s *VirtualMachineSnapshot) RenameSnapshot(request *types.RenameSnapshot) soap.HasFault {
	s.vm.setForest(changed(s.vm.trees(), s.Self, func(old node) forest {
		if request.Name != "" {
			old.Name = request.Name
		}
		if s.vm.server.withDescription() {
			old.Description = request.Description
		}
		return forest{old}
	}), s.vm.current())
	return &methods.RenameSnapshotBody{Res: new(types.RenameSnapshotResponse)}
}

// ConsolidateVMDisksTask merges what a removal left behind.
func (vm *VirtualMachine) ConsolidateVMDisksTask(*types.ConsolidateVMDisks_Task) soap.HasFault {
	task := vm.server.begin(vm, "ConsolidateVMDisks_Task", "VirtualMachine.consolidateDisks",
		func() (types.AnyType, types.BaseMethodFault) {
			vm.needConsolidation(false)
			return nil, nil
		})
	return &methods.ConsolidateVMDisks_TaskBody{Res: &types.ConsolidateVMDisks_TaskResponse{Returnval: task}}
}

func (vm *VirtualMachine) needConsolidation(needed bool) {
	vm.update(types.PropertyChange{Name: "runtime.consolidationNeeded", Val: needed})
}
