"""The admin site, for root admins only. Admins act through services, not by saving rows.

The rooms register their pages when `vmsnap_site.apps` imports them. They are not imported here: Django imports this
package on the way to the site itself, which must stand before a page can register with it.
"""
