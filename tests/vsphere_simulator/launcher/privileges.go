package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The privilege that a call needs, from pyvmomi's description of the methods.
var needs = map[string]string{
	"CreateSnapshot_Task":            "VirtualMachine.State.CreateSnapshot",
	"RevertToSnapshot_Task":          "VirtualMachine.State.RevertToSnapshot",
	"RevertToCurrentSnapshot_Task":   "VirtualMachine.State.RevertToSnapshot",
	"RemoveSnapshot_Task":            "VirtualMachine.State.RemoveSnapshot",
	"RemoveAllSnapshots_Task":        "VirtualMachine.State.RemoveSnapshot",
	"ConsolidateVMDisks_Task":        "VirtualMachine.State.RemoveSnapshot",
	"RenameSnapshot":                 "VirtualMachine.State.RenameSnapshot",
	"PowerOnVM_Task":                 "VirtualMachine.Interact.PowerOn",
	"PowerOffVM_Task":                "VirtualMachine.Interact.PowerOff",
	"ShutdownGuest":                  "VirtualMachine.Interact.PowerOff",
	"SuspendVM_Task":                 "VirtualMachine.Interact.Suspend",
	"SearchDatastoreSubFolders_Task": "Datastore.Browse",
	"SearchDatastore_Task":           "Datastore.Browse",
}

// needsForDisk gives the privilege that a change of a disk needs.
func needsForDisk(spec *types.VirtualDeviceConfigSpec) string {
	switch {
	case spec.Operation == types.VirtualDeviceConfigSpecOperationRemove:
		return "VirtualMachine.Config.RemoveDisk"
	case spec.Operation == types.VirtualDeviceConfigSpecOperationEdit:
		return "VirtualMachine.Config.DiskExtend"
	case spec.FileOperation == "":
		return "VirtualMachine.Config.AddExistingDisk"
	}
	return "VirtualMachine.Config.AddNewDisk"
}

// AuthorizationManager stands in place of the library's, which grants everything: what the parent took from the account
// is missing everywhere.
type AuthorizationManager struct {
	simulator.AuthorizationManager

	server *Server
}

func (s *Server) watchPrivileges() {
	reference := *simulator.Map.Get(root).(*simulator.ServiceInstance).Content.AuthorizationManager
	if plain, ok := simulator.Map.Get(reference).(*simulator.AuthorizationManager); ok {
		simulator.Map.Put(&AuthorizationManager{AuthorizationManager: *plain, server: s})
	}
}

func (m *AuthorizationManager) granted(entities []ref, asked []string) []types.EntityPrivilege {
	var answer []types.EntityPrivilege
	for _, entity := range entities {
		each := types.EntityPrivilege{Entity: entity}
		for _, id := range asked {
			each.PrivAvailability = append(each.PrivAvailability,
				types.PrivilegeAvailability{PrivId: id, IsGranted: !m.server.missing[id]})
		}
		answer = append(answer, each)
	}
	return answer
}

// HasPrivilegeOnEntities is asked about one's own session.
func (m *AuthorizationManager) HasPrivilegeOnEntities(request *types.HasPrivilegeOnEntities) soap.HasFault {
	return &methods.HasPrivilegeOnEntitiesBody{Res: &types.HasPrivilegeOnEntitiesResponse{
		Returnval: m.granted(request.Entity, request.PrivId),
	}}
}

// HasUserPrivilegeOnEntities is asked about any user.
func (m *AuthorizationManager) HasUserPrivilegeOnEntities(request *types.HasUserPrivilegeOnEntities) soap.HasFault {
	return &methods.HasUserPrivilegeOnEntitiesBody{Res: &types.HasUserPrivilegeOnEntitiesResponse{
		Returnval: m.granted(request.Entities, request.PrivId),
	}}
}

// HasPrivilegeOnEntity is the older form.
func (m *AuthorizationManager) HasPrivilegeOnEntity(request *types.HasPrivilegeOnEntity) soap.HasFault {
	granted := make([]bool, len(request.PrivId))
	for i, id := range request.PrivId {
		granted[i] = !m.server.missing[id]
	}
	return &methods.HasPrivilegeOnEntityBody{Res: &types.HasPrivilegeOnEntityResponse{Returnval: granted}}
}

// FetchUserPrivilegeOnEntities lists what a user has.
func (m *AuthorizationManager) FetchUserPrivilegeOnEntities(request *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	body := m.AuthorizationManager.FetchUserPrivilegeOnEntities(request).(*methods.FetchUserPrivilegeOnEntitiesBody)
	for i := range body.Res.Returnval {
		var left []string
		for _, id := range body.Res.Returnval[i].Privileges {
			if !m.server.missing[id] {
				left = append(left, id)
			}
		}
		body.Res.Returnval[i].Privileges = left
	}
	return body
}
