package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// RetrievePropertiesEx gives a page and a token for the next.
func (c *PropertyCollector) RetrievePropertiesEx(
	ctx *simulator.Context, request *types.RetrievePropertiesEx,
) soap.HasFault {
	answer := c.PropertyCollector.RetrievePropertiesEx(ctx, request).(*methods.RetrievePropertiesExBody)
	if answer.Res != nil && answer.Res.Returnval != nil {
		size := largestPage
		if most := request.Options.MaxObjects; most > 0 && int(most) < size {
			size = int(most)
		}
		found := answer.Res.Returnval
		found.Objects, found.Token = c.page(found.Objects, size)
		if len(found.Objects) == 0 {
			answer.Res.Returnval = nil
		}
	}
	return answer
}

// ContinueRetrievePropertiesEx gives the next page.
func (c *PropertyCollector) ContinueRetrievePropertiesEx(request *types.ContinueRetrievePropertiesEx) soap.HasFault {
	body := new(methods.ContinueRetrievePropertiesExBody)
	left, known := c.pages[request.Token]
	if !known {
		body.Fault_ = simulator.Fault("There is no such token.", &types.InvalidProperty{Name: "token"})
		return body
	}
	delete(c.pages, request.Token)
	size, _ := strconv.Atoi(strings.SplitN(request.Token, "-", 2)[0])
	body.Res = new(types.ContinueRetrievePropertiesExResponse)
	body.Res.Returnval.Objects, body.Res.Returnval.Token = c.page(left, size)
	return body
}

// CancelRetrievePropertiesEx gives up the rest.
func (c *PropertyCollector) CancelRetrievePropertiesEx(request *types.CancelRetrievePropertiesEx) soap.HasFault {
	delete(c.pages, request.Token)
	return &methods.CancelRetrievePropertiesExBody{Res: new(types.CancelRetrievePropertiesExResponse)}
}

func (c *PropertyCollector) page(objects []types.ObjectContent, size int) ([]types.ObjectContent, string) {
	if len(objects) <= size {
		return objects, ""
	}
	c.counter++
	token := fmt.Sprintf("%d-%d", size, c.counter)
	if c.pages == nil {
		c.pages = map[string][]types.ObjectContent{}
	}
	c.pages[token] = objects[size:]
	return objects[:size], token
}
