package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// kept is a machine's part of the file that outlives the process.
type kept struct {
	Power     types.VirtualMachinePowerState
	Disks     []string // the base files of those attached
	Current   string
	Snapshots []keptSnapshot // in the order in which they were taken
}

type keptSnapshot struct {
	Reference, Parent, Name, Description string
	Created                              time.Time
	State                                types.VirtualMachinePowerState
	Quiesced, Memory                     bool
}

// save writes down all machines' forests, keyed by instance uuid, where the settings ask for it.
func (s *Server) save() {
	if s.settings.Remember == "" || !s.recalled {
		return
	}
	everything := map[string]kept{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if vm, ok := entity.(*VirtualMachine); ok {
			everything[vm.Config.InstanceUuid] = vm.remembered()
		}
	}
	text, err := json.Marshal(everything)
	if err == nil {
		unfinished := s.settings.Remember + ".unfinished"
		if err = os.WriteFile(unfinished, text, 0o600); err == nil {
			err = os.Rename(unfinished, s.settings.Remember)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vsphere simulator: cannot remember:", err)
	}
}

func (vm *VirtualMachine) remembered() kept {
	made := kept{Power: vm.Runtime.PowerState, Disks: vm.attached()}
	if current := vm.current(); current != nil {
		made.Current = current.Value
	}
	for _, each := range all(vm.trees()) {
		found := seek(vm.trees(), each)
		snapshot := keptSnapshot{
			Reference: each.Value, Name: found.Name, Description: found.Description, Created: found.CreateTime,
			State: found.State, Quiesced: found.Quiesced, Memory: vm.kept[each].memory,
		}
		if above := parentOf(vm.trees(), each); above != nil {
			snapshot.Parent = above.Value
		}
		made.Snapshots = append(made.Snapshots, snapshot)
	}
	return made
}

// recall puts the machines back to what the file says; those it does not know stay as the settings made them.
func (s *Server) recall() error {
	defer func() { s.recalled = true }()
	if s.settings.Remember == "" {
		return nil
	}
	text, err := os.ReadFile(s.settings.Remember)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var everything map[string]kept
	if err := json.Unmarshal(text, &everything); err != nil {
		return fmt.Errorf("%s: %w", s.settings.Remember, err)
	}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm, ok := entity.(*VirtualMachine)
		if !ok {
			continue
		}
		if told, known := everything[vm.Config.InstanceUuid]; known {
			if err := vm.recall(told); err != nil {
				return fmt.Errorf("machine %s: %w", vm.Name, err)
			}
		}
	}
	return nil
}

func (vm *VirtualMachine) recall(told kept) error {
	// Parents come first in the file; below them the order is that of their numbers.
	sort.SliceStable(told.Snapshots, func(i, j int) bool {
		return number(told.Snapshots[i].Reference) < number(told.Snapshots[j].Reference)
	})
	for len(vm.trees()) > 0 {
		vm.remove(vm.trees()[0].Snapshot, true)
	}
	base := copied(vm.Config.Hardware.Device)
	for _, each := range told.Snapshots {
		if above := vm.kept[snapshotRef(each.Parent)]; above != nil {
			vm.standAt(above)
		} else {
			vm.setDevices(base)
			vm.setForest(vm.trees(), nil)
		}
		vm.grow(node{
			Snapshot: snapshotRef(each.Reference), Name: each.Name, Description: each.Description,
			CreateTime: each.Created, State: each.State, Quiesced: each.Quiesced,
		}, each.Memory)
		if taken := number(each.Reference); taken > vm.server.snapshots {
			vm.server.snapshots = taken
		}
	}
	if current := vm.kept[snapshotRef(told.Current)]; current != nil {
		vm.standAt(current)
	} else if len(vm.trees()) > 0 {
		vm.setForest(vm.trees(), nil)
	}
	if err := vm.recallDisks(told.Disks); err != nil {
		return err
	}
	if told.Power != "" && told.Power != vm.Runtime.PowerState {
		vm.setPower(told.Power)
	}
	return nil
}

// attached lists the base files of the machine's disks.
func (vm *VirtualMachine) attached() []string {
	found := []string{}
	for _, device := range vm.Config.Hardware.Device {
		if links := chain(device); links != nil {
			found = append(found, links[0].FileName)
		}
	}
	return found
}

// recallDisks attaches and detaches until these are the machine's.
func (vm *VirtualMachine) recallDisks(wanted []string) error {
	ctx, machine := context.Background(), object.NewVirtualMachine(vm.server.client, vm.Self)
	for _, device := range copied(vm.Config.Hardware.Device) {
		if links := chain(device); links != nil && !contains(wanted, links[0].FileName) {
			if err := machine.RemoveDevice(ctx, true, device); err != nil {
				return err
			}
		}
	}
	for _, file := range wanted {
		if _, known := vm.server.capacity[file]; !known || contains(vm.attached(), file) {
			continue
		}
		devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
		controller, err := devices.FindDiskController("")
		if err != nil {
			return err
		}
		if err := machine.AddDevice(ctx, devices.CreateDisk(controller, ref{}, file)); err != nil {
			return err
		}
	}
	return nil
}

func snapshotRef(value string) ref {
	return ref{Type: "VirtualMachineSnapshot", Value: value}
}

func number(reference string) int {
	found, _ := strconv.Atoi(strings.TrimPrefix(reference, "snapshot-"))
	return found
}
