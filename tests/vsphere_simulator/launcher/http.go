package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	vimxml "github.com/vmware/govmomi/vim25/xml"
)

// The largest request that is read, in bytes.
const largestRequest = 16 << 20

// What may be called without a session.
var open = map[string]bool{
	"RetrieveServiceContent": true, "Login": true, "LoginByToken": true, "RetrieveInternalContent": true,
	"LoginExtensionByCertificate": true, "CloneSession": true,
}

// What waits inside the call and so must not keep others out; it takes the lock by itself while it looks.
var waits = map[string]bool{"WaitForUpdatesEx": true, "WaitForUpdates": true}

// ServeHTTP stands before the library: it counts calls, carries out the parent's plans about calls, lets nobody in
// without a session or the privilege, and lets one at a time at the inventory.
func (s *Server) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if request.URL.Path != "/sdk" && request.URL.Path != "/sdk/vimService" {
		s.model.Service.ServeMux.ServeHTTP(answer, request)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, largestRequest))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	method, about := called(body)

	s.world.Lock()
	s.calls[method]++
	refusal, plan := s.refusal(method, about, request)
	if plan != nil && plan.Drop == "before" {
		s.world.Unlock()
		hangUp(answer)
		return
	}
	if refusal != nil {
		s.world.Unlock()
		refuse(answer, refusal, plan)
		return
	}
	if waits[method] {
		s.world.Unlock()
		s.model.Service.ServeMux.ServeHTTP(answer, request)
		return
	}
	s.body = body
	written := httptest.NewRecorder()
	s.model.Service.ServeMux.ServeHTTP(written, request)
	s.wrapNew()
	if method == "Login" || method == "Logout" {
		endListeners()
	}
	s.world.Unlock()
	if plan != nil && plan.Drop == "after" {
		hangUp(answer)
		return
	}
	for name, values := range written.Header() {
		answer.Header()[name] = values
	}
	answer.WriteHeader(written.Code)
	_, _ = answer.Write(written.Body.Bytes())
}

// refusal gives the fault that the call itself meets, and the plan that is about the call.
func (s *Server) refusal(method string, about ref, request *http.Request) (types.BaseMethodFault, *Plan) {
	if !open[method] && !s.hasSession(request) {
		return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: about, PrivilegeId: "System.View"}}, nil
	}
	vm := machineOf(about)
	if needed := needs[method]; needed != "" && s.missing[needed] {
		return &types.NoPermission{Object: about, PrivilegeId: needed}, nil
	}
	plan := s.planFor(method, vm, true)
	if plan != nil && plan.Fault != "" {
		return plan.fault(vm), plan
	}
	return nil, plan
}

func machineOf(about ref) *VirtualMachine {
	switch found := simulator.Map.Get(about).(type) {
	case *VirtualMachine:
		return found
	case *VirtualMachineSnapshot:
		return found.vm
	case *Task:
		return found.vm
	}
	return nil
}

func (s *Server) hasSession(request *http.Request) bool {
	cookie, err := request.Cookie(soap.SessionCookieName)
	if err != nil {
		return false
	}
	return loggedIn(cookie.Value)
}

func loggedIn(key string) bool {
	for _, session := range sessions() {
		if session.Key == key {
			return true
		}
	}
	return false
}

// sessions lists who is logged in. The library shows the list only to a session.
func sessions() []types.UserSession {
	asking := &simulator.Session{Registry: simulator.NewRegistry()}
	return asking.Get(*simulator.Map.Get(root).(*simulator.ServiceInstance).Content.SessionManager).(*simulator.SessionManager).SessionList
}

var root = ref{Type: "ServiceInstance", Value: "ServiceInstance"}

// endSessions logs everybody out.
func (s *Server) endSessions() {
	ctx := &simulator.Context{
		Session: &simulator.Session{Registry: simulator.NewRegistry()}, Map: simulator.Map,
	}
	for _, session := range sessions() {
		simulator.Map.SessionManager().TerminateSession(ctx, &types.TerminateSession{SessionId: []string{session.Key}})
	}
	endListeners()
}

// called tells the method of a request and the object it is called on.
func called(body []byte) (method string, about ref) {
	reader := xml.NewDecoder(bytes.NewReader(body))
	inBody := false
	for {
		token, err := reader.Token()
		if err != nil {
			return method, about
		}
		start, ok := token.(xml.StartElement)
		switch {
		case !ok:
		case method != "":
			// The first element of every method is the object.
			for _, attribute := range start.Attr {
				if attribute.Name.Local == "type" {
					about.Type = attribute.Value
				}
			}
			_ = reader.DecodeElement(&about.Value, &start)
			return method, about
		case inBody:
			method = start.Name.Local
		case start.Name.Local == "Body":
			inBody = true
		}
	}
}

// refuse answers with a fault as the library writes it.
func refuse(answer http.ResponseWriter, fault types.BaseMethodFault, plan *Plan) {
	message := told(fault)
	if plan != nil && plan.Message != "" {
		message = plan.Message
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	out.WriteString(`<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"` +
		` xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">` +
		`<soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>`)
	_ = xml.EscapeText(&out, []byte(message))
	out.WriteString(`</faultstring><detail>`)
	kind := reflect.TypeOf(fault).Elem().Name()
	detail := vimxml.NewEncoder(&out)
	err := detail.EncodeElement(fault, vimxml.StartElement{
		Name: vimxml.Name{Local: kind + "Fault"},
		Attr: []vimxml.Attr{
			{Name: vimxml.Name{Local: "xmlns"}, Value: "urn:vim25"},
			{Name: vimxml.Name{Local: "xsi:type"}, Value: kind},
		},
	})
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	out.WriteString(`</detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`)
	answer.Header().Set("Content-Type", "text/xml; charset=utf-8")
	answer.WriteHeader(http.StatusInternalServerError)
	_, _ = answer.Write(out.Bytes())
}

// hangUp ends the connection without an answer.
func hangUp(answer http.ResponseWriter) {
	if connection, _, err := answer.(http.Hijacker).Hijack(); err == nil {
		_ = connection.SetDeadline(time.Now())
		_ = connection.Close()
	}
}

// withDescription tells whether the request under way has an element <description>, empty or not: the library's own
// reading makes no difference between an empty text and none.
func (s *Server) withDescription() bool {
	return strings.Contains(string(s.body), "<description")
}
