"""Initialisers: how parameters are drawn before training. This file is the index; names as in torch.nn.init."""

from d2lref.inits._fixed import constant as constant
from d2lref.inits._fixed import dirac as dirac
from d2lref.inits._fixed import eye as eye
from d2lref.inits._fixed import ones as ones
from d2lref.inits._fixed import zeros as zeros
from d2lref.inits._orthogonal import orthogonal as orthogonal
from d2lref.inits._plain import normal as normal
from d2lref.inits._plain import trunc_normal as trunc_normal
from d2lref.inits._plain import uniform as uniform
from d2lref.inits._scaled import kaiming_normal as kaiming_normal
from d2lref.inits._scaled import kaiming_uniform as kaiming_uniform
from d2lref.inits._scaled import xavier_normal as xavier_normal
from d2lref.inits._scaled import xavier_uniform as xavier_uniform
from d2lref.inits._sparse import sparse as sparse
