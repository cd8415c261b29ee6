# SPDX-License-Identifier: Apache-2.0
#
# The graph descriptions that ship, with the machines they include. What is listed here is in the tarball and is
# installed under $(pkgdatadir)/graphs. One line a file, in alphabetical order:
# nobase_dist_pkgdata_DATA += graphs/NAME.cfg
