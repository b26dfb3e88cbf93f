"""Tests of the XenServer driver, over the XenAPI server that is shipped with the product."""
