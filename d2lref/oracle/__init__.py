"""The judge of any implementation of any subject it is handed.

It imports no op: names are resolved above it, in `d2lref.catalogue`.
"""

from d2lref.oracle.caller import Caller as Caller
from d2lref.oracle.campaign import Budget as Budget
from d2lref.oracle.campaign import Campaign as Campaign
from d2lref.oracle.campaign import Interrupted as Interrupted
from d2lref.oracle.campaign import Progress as Progress
from d2lref.oracle.campaign import run as run
from d2lref.oracle.common import all_laws as all_laws
from d2lref.oracle.common import all_mistakes as all_mistakes
from d2lref.oracle.common import common_laws as common_laws
from d2lref.oracle.common import common_mistakes as common_mistakes
from d2lref.oracle.distributions import Run as Run
from d2lref.oracle.distributions import draw as draw
from d2lref.oracle.draw_laws import held as held
from d2lref.oracle.finding import Finding as Finding
from d2lref.oracle.implementation import NUMPY as NUMPY
from d2lref.oracle.implementation import Implementation as Implementation
from d2lref.oracle.implementation import Library as Library
from d2lref.oracle.implementation import implementation as implementation
from d2lref.oracle.judge import Status as Status
from d2lref.oracle.judge import hold as hold
from d2lref.oracle.judge import judge as judge
from d2lref.oracle.report import Report as Report
